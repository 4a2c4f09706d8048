//! The XML an operator gives to `hmmgr passthru`.

/// The key of the world's only host.
const HOST: &str = r#"machine_type="lab" model="one" serial="1""#;

/// Registers the host and its monitors, given by UUID and address.
pub(crate) fn add_host(monitors: &[(String, String)]) -> String {
    let list: String = monitors
        .iter()
        .map(|(uuid, mac)| format!("    <vios uuid=\"{uuid}\" isHM=\"1\" macAddr=\"{mac}\"/>\n"))
        .collect();
    envelope("VIO_HS_ADD_MS", &format!("  <addMS><viosList {HOST}>\n{list}  </viosList></addMS>\n"))
}

/// Registers VMs, given by UUID and name.
pub(crate) fn add_vms(vms: &[(String, String)]) -> String {
    let list: String =
        vms.iter().map(|(uuid, name)| format!("    <vm uuid=\"{uuid}\" name=\"{name}\"/>\n")).collect();
    envelope("VIO_HS_ADD_VM", &format!("  <addVM><vmList {HOST}>\n{list}  </vmList></addVM>\n"))
}

/// Starts monitoring VMs.
pub(crate) fn start_vms(uuids: &[String]) -> String {
    let list: String = uuids.iter().map(|uuid| format!("    <vm uuid=\"{uuid}\"/>\n")).collect();
    envelope("VIO_HS_START_VM", &format!("  <startVM><vmList {HOST}>\n{list}  </vmList></startVM>\n"))
}

/// A request about VMs, as `VIO_HS_STOP_VM` with its element `stopVM`; the host is not named.
pub(crate) fn vms(action: &str, element: &str, uuids: &[String]) -> String {
    let list: String = uuids.iter().map(|uuid| format!("    <vm uuid=\"{uuid}\"/>\n")).collect();
    envelope(action, &format!("  <{element}><vmList>\n{list}  </vmList></{element}>\n"))
}

/// Changes settings of host monitors, given as attributes.
pub(crate) fn configure(attributes: &str) -> String {
    envelope("VIO_HS_CONFIGURE_HM", &format!("  <configureHM {attributes}/>\n"))
}

/// Takes a host monitor out.
pub(crate) fn remove_monitor(uuid: &str) -> String {
    envelope("VIO_HS_REMOVE_VIOS", &format!("  <removeVIOS><vios uuid=\"{uuid}\"/></removeVIOS>\n"))
}

/// Registers host monitors with the host, given by UUID and address.
pub(crate) fn add_monitors(monitors: &[(String, String)]) -> String {
    add_host(monitors).replace("VIO_HS_ADD_MS", "VIO_HS_ADD_VIOS").replace("addMS", "addVIOS")
}

/// Asks for what needs attention.
pub(crate) fn needs_attention() -> String {
    envelope("VIO_HS_NEEDS_ATTENTION", "")
}

/// Asks how the host monitors are.
pub(crate) fn quick_query() -> String {
    envelope("VIO_HS_QUICK_QUERY", "")
}

fn envelope(action: &str, body: &str) -> String {
    let request = if body.is_empty() {
        format!("<Request action_str=\"{action}\"/>")
    } else {
        format!("<Request action_str=\"{action}\">\n{body} </Request>")
    };
    format!(
        "<?xml version=\"1.0\"?>\n<VIO xmlns=\"http://ausgsa.austin.ibm.com/projects/v/vios/schema/vioHADR2.00\" \
         version=\"2.00\">\n {request}\n</VIO>\n"
    )
}
