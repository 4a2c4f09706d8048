use vmpulse_store::*;

use crate::bench::*;

pub(crate) fn adding_twice_is_no_error(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    let before = bench.store.quick_query().unwrap();
    bench.add_host(1);
    bench.add_vm(1, 1);
    assert_eq!(bench.store.quick_query().unwrap(), before);
    assert_eq!(bench.store.vms().unwrap().len(), 1);

    bench.store.vms_add(&host(1), &[VmRegistration { uuid: vm(1), name: Some("renamed".into()) }]).unwrap();
    assert_eq!(bench.vm(1).name, "renamed");
    bench.store.vms_add(&host(1), &[VmRegistration { uuid: vm(1), name: None }]).unwrap();
    assert_eq!(bench.vm(1).name, "renamed");
    bench.store.vms_add(&host(1), &[VmRegistration { uuid: vm(2), name: None }]).unwrap();
    assert_eq!(bench.vm(2).name, vm(2).to_string());
}

pub(crate) fn a_host_monitor_moves_with_its_registration(bench: &mut Bench) {
    bench.add_host(1);
    let moving =
        HostMonitorRegistration { id: hm(11), part_number: 7, mac: Some("02:00:00:00:00:07".into()) };
    bench.store.hosts_add(&[HostRegistration { key: host(2), host_monitors: vec![moving] }]).unwrap();
    let hosts = bench.store.quick_query().unwrap().hosts;
    let of = |host: &HostStatus| host.host_monitors.iter().map(|status| status.id).collect::<Vec<_>>();
    assert_eq!(hosts.iter().map(of).collect::<Vec<_>>(), [vec![hm(12)], vec![hm(11)]]);
    assert_eq!(hosts[1].host_monitors[0].mac.as_deref(), Some("02:ff:00:00:00:0b"), "what it said itself");
}

pub(crate) fn vms_are_added_all_or_none(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    bench.add_vm(1, 1);
    let unnamed = |number| VmRegistration { uuid: vm(number), name: None };
    let refused = bench.store.vms_add(&host(2), &[unnamed(2), unnamed(1)]).unwrap_err();
    assert!(matches!(refused, StoreError::Elsewhere { vm: moved, .. } if moved == vm(1)), "{refused}");
    assert_eq!(bench.store.vms().unwrap().len(), 1);
    let refused = bench.store.vms_add(&host(3), &[unnamed(3)]).unwrap_err();
    assert!(matches!(refused, StoreError::UnknownHost(_)), "{refused}");
}

pub(crate) fn starting_tells_every_host_monitor(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    bench.add_vm(1, 1);
    let tags = bench.store.vms_start(&[vm(1)]).unwrap();
    let (one, other) = (bench.requests(11), bench.requests(12));
    assert_eq!([one[0].tag, other[0].tag].as_slice(), tags);
    assert_eq!(one[0].what, RequestKind::Reconsider(vm(1)));
    assert_eq!(bench.requests(21), []);
    let roster = bench.store.roster(hm(11)).unwrap();
    assert_eq!((roster.vms[0].uuid, roster.vms[0].state), (vm(1), VmState::Starting));
    assert!(bench.is_elsewhere(21, 1));

    bench.write(12, &[HostMonitorWrite::RequestDone { tag: tags[0] }]);
    assert_eq!(bench.requests(11).len(), 1, "another's request is not its to close");
    bench.write(
        11,
        &[HostMonitorWrite::RequestDone { tag: tags[0] }, HostMonitorWrite::RequestDone { tag: 999 }],
    );
    assert_eq!((bench.requests(11).len(), bench.requests(12).len()), (0, 1));
}

pub(crate) fn starting_is_all_or_none_and_repeatable(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    let refused = bench.store.vms_start(&[vm(1), vm(9)]).unwrap_err();
    assert!(matches!(refused, StoreError::UnknownVm(unknown) if unknown == vm(9)), "{refused}");
    assert_eq!(bench.vm(1).state, VmState::Added);
    assert_eq!(bench.requests(11), []);
    assert_eq!(bench.store.vms_start(&[vm(1)]).unwrap().len(), 2);
    let since = bench.vm(1).state_changed_at;
    bench.pass(1);
    assert_eq!(bench.store.vms_start(&[vm(1)]).unwrap(), Vec::<TransactionTag>::new(), "already starting");
    assert_eq!(bench.vm(1).state_changed_at, since);
}
