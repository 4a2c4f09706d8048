//! What every back end of the health store must do, run on each of them.
// Cases are functions of their own, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "conformance/attention.rs"]
mod attention;
#[path = "conformance/bench.rs"]
mod bench;
#[path = "conformance/by_role.rs"]
mod by_role;
#[path = "conformance/conditions.rs"]
mod conditions;
#[path = "conformance/configuring.rs"]
mod configuring;
#[path = "conformance/discovery.rs"]
mod discovery;
#[path = "conformance/exchange.rs"]
mod exchange;
#[path = "conformance/findings.rs"]
mod findings;
#[path = "conformance/messages.rs"]
mod messages;
#[path = "conformance/modes.rs"]
mod modes;
#[path = "conformance/nodes.rs"]
mod nodes;
#[path = "conformance/queries.rs"]
mod queries;
#[path = "conformance/quiet.rs"]
mod quiet;
#[path = "conformance/registration.rs"]
mod registration;
#[path = "conformance/removing.rs"]
mod removing;
#[path = "conformance/reports.rs"]
mod reports;
#[path = "conformance/retention.rs"]
mod retention;
#[path = "conformance/silence.rs"]
mod silence;
#[path = "conformance/states.rs"]
mod states;
#[path = "conformance/stopping.rs"]
mod stopping;
#[path = "conformance/words.rs"]
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use vmpulse_store::{FixedClock, PostgresStore, SqliteStore, Store};
use vmpulse_test_postgres::Server;

use bench::{BackEnd, Bench};
use by_role::ByRole;

/// What is run on every back end, by groups.
macro_rules! every_case {
    ($run:ident) => {
        $run! {
            registration {
                adding_twice_is_no_error
                a_host_monitor_moves_with_its_registration
                vms_are_added_all_or_none
                starting_tells_every_host_monitor
                starting_is_all_or_none_and_repeatable
            }
            nodes {
                responsive_for_two_and_a_half_intervals
                a_heartbeat_ahead_of_the_clock_came_when_it_is_noticed
                shut_down_on_purpose
                unregistered_host_monitors_are_kept_and_adopted
                node_events_are_bounded
                node_events_are_told_newest_last_by_kind_monitor_and_time
                conflicts_are_node_events_too
                a_host_monitor_that_cannot_hear_its_trunk_is_shown_as_such
                an_isolated_host_monitor_says_why_and_accuses_nobody
                numbered_writes_are_applied_once
                whatever_is_new_is_a_sign_of_life
            }
            modes {
                what_earlier_starts_wrote_is_applied_once
                a_start_that_the_store_never_heard_of_is_applied
                changes_of_mode_are_recorded_and_told_exactly_once
                changes_of_mode_are_node_data_until_acknowledged
            }
            states {
                started_when_every_responsive_monitor_has_a_beating_path
                a_silent_monitor_does_not_hold_a_vm_back
                a_blind_monitor_neither_starts_a_vm_nor_holds_it_back
                a_visitor_starts_when_its_only_monitor_hears_again
                a_shutdown_ends_with_the_next_handshake
                an_administrators_suspension_ends_with_resume_only
                both_suspensions_must_end
                silence_before_a_suspension_ended_counts_for_nothing
                a_started_suspended_vm_starts_anew
                many_at_once_are_as_one_by_one
            }
            words {
                a_suspension_written_late_does_not_undo_a_resume
                a_resume_written_late_does_not_undo_a_suspension
                words_of_one_monitor_count_in_their_order
                words_that_are_about_as_old_count_as_they_are_written
                a_suspension_that_the_controller_ended_does_not_come_back
                a_shutdown_written_late_is_over_if_the_agent_shook_hands_since
                handshakes_of_many_overtake_shutdowns_as_those_of_one
                a_handshake_written_late_ends_no_later_shutdown
                a_shutdown_is_as_old_as_its_first_word
                a_clock_that_was_set_back_loses_no_word
                what_an_earlier_version_kept_has_no_age
                a_late_word_that_waits_for_the_lock_undoes_nothing_newer
                a_word_of_another_boot_overtakes_none
                a_word_of_another_boot_is_overtaken_by_what_is_newer_than_that_boot
            }
            stopping {
                stopped_when_every_monitor_has_answered
                a_stopped_vm_is_of_no_account
                a_monitor_that_does_not_live_is_not_waited_for
                a_monitor_that_dies_meanwhile_is_not_waited_for
                nobody_is_waited_for_longer_than_ten_minutes
                stopping_what_is_not_monitored_does_nothing
                stopping_is_all_or_none
                stopping_ends_a_suspension
                a_start_takes_the_place_of_a_stop
                transactions_are_seen_from_asked_to_done
                started_again_when_the_verified_paths_beat
                a_storm_leaves_nothing_half_done
            }
            removing {
                an_unmonitored_vm_goes_at_once
                a_monitored_vm_is_removing_until_its_monitors_answer
                a_removed_vm_does_not_come_back
                adding_lifts_the_tombstone
                adding_a_vm_that_is_removing_begins_anew
                tombstones_expire
                incidents_end_with_what_they_are_about
                removed_monitors_are_ignored_until_they_are_registered_again
                a_monitor_that_is_registered_again_is_down_with_its_start
                a_removed_monitor_is_not_waited_for
                monitors_are_added_to_known_hosts_only
                a_host_goes_with_all_it_has
                a_group_goes_in_one
                a_tag_of_a_removed_host_is_unknown
            }
            configuring {
                one_goes_before_host_before_all
                what_is_in_force_is_said_and_kept
                the_systems_versions_are_those_of_all
                settings_out_of_range_are_refused
            }
            silence {
                a_vm_is_silent_when_every_path_is
                the_age_is_that_of_the_missing_edge
                unknown_is_never_silence
                a_monitor_that_goes_makes_no_old_silence_count
                a_vm_was_known_to_live_at_its_monitors_last_commit
                where_a_vm_was_before_it_moved_does_not_count
                a_blind_monitor_neither_vetoes_nor_is_silent
                hearing_again_or_starting_ends_blindness
                unmonitored_vms_are_not_silent
                common_only_if_all_are
                paths_of_an_earlier_monitoring_do_not_count
                a_forgotten_path_does_not_count
                a_moved_vm_counts_wherever_it_is_heard
                a_reopened_path_keeps_its_silence
                a_handshake_elsewhere_hides_no_silence
                a_path_counts_from_its_first_edge
                the_roster_keeps_open_silences
                the_roster_expects_visitors
            }
            attention {
                healthy_vms_need_none
                doorbells_add_up_and_come_first
                acknowledging_clears_what_was_reported_only
                state_changes_until_acknowledged
                made_up_tags_are_unknown
                one_host_only
                missed_heartbeats_are_never_acknowledged_away
                polling_writes_nothing
            }
            discovery {
                strangers_are_reported_until_acknowledged
                the_store_judges_by_what_is_registered
                floods_do_not_grow_the_store
                texts_of_guests_are_kept_as_well_as_they_can_be
                registering_ends_being_a_stranger
                moved_again_is_news_again
                two_guests_with_one_uuid_are_noticed_in_their_own_interval
                version_conflicts_are_shown_until_the_next_handshake
            }
            reports {
                an_exchange_from_doorbell_to_clear
                only_the_open_request_is_answered
                a_request_needs_an_open_path
                a_request_needs_a_path_that_counts
                an_older_report_changes_nothing
                a_guest_clears_its_own_exchange_only
                nothing_piles_up
                old_requests_are_dropped
                a_report_is_applied_once_and_the_newest_stays
                starts_of_an_agent_are_ordered_by_their_handshakes
                a_report_that_cannot_be_read_is_taken_and_changes_nothing
            }
            exchange {
                interrupted_anywhere_it_completes
            }
            messages {
                an_exchange_step_by_step_as_scripts_see_it
                what_is_not_answered_is_asked_again
                an_exchange_moves_to_the_path_that_is_left
                a_taken_report_is_said_again
                removing_ends_every_exchange
                exchanges_come_page_by_page
                numbers_are_never_given_twice
            }
            queries {
                node_events_are_reported_until_acknowledged
                node_events_of_one_monitor_only
                what_happens_after_the_answer_is_not_acknowledged
                kinds_of_tags_do_not_clear_each_other
                conflicts_are_reported_until_acknowledged
                a_uuid_on_two_hosts_is_a_conflict
                a_vm_with_all_that_is_known
                how_a_path_is_spoken_on
                vms_come_page_by_page
                which_host_has_a_vm
            }
            conditions {
                a_path_that_does_not_come_is_told_until_acknowledged
                a_path_that_comes_late_is_told_no_more
                a_monitor_that_cannot_hear_misses_nobody
                a_new_monitor_is_waited_for_too
                monitoring_that_ends_waits_for_nobody
                version_conflicts_are_told_at_home
                version_conflicts_of_strangers_are_told_where_they_were_seen
                a_fence_is_told_until_it_is_lifted
                managed_guests_are_told_until_they_are_monitored
                everything_has_its_place
            }
            quiet {
                every_host_monitor_knows_it_and_the_vm_is_not_silent
                what_was_silent_is_not_while_it_lasts
                said_on_both_trunks_it_costs_once
                no_more_than_600_s_in_an_hour
                a_prolonged_one_costs_what_it_lasted
                the_guest_ends_it_and_keeps_the_rest
                a_store_that_was_slow_prolongs_nothing
                a_clock_that_steps_neither_ends_nor_prolongs_it
                a_clock_set_back_behind_its_end_excuses_no_later_silence
                a_clock_set_back_behind_the_vms_start_excuses_no_later_silence
                only_monitored_vms_are_recorded
                a_visitor_is_quiet_where_it_is_heard
                its_news_are_told_exactly_once
                short_ones_do_not_pile_up
            }
            retention {
                old_events_go_and_open_incidents_stay
                old_node_events_and_conflicts_go
                discoveries_go_once_they_were_acknowledged
                working_data_goes_and_reports_wait
                requests_that_go_are_given_up
                unregistered_monitors_go_and_registered_ones_stay
            }
            findings {
                an_incident_is_recorded_once_until_closed
                settings_are_kept_and_checked
                phases_and_controllers
            }
        }
    };
}

/// One test per case.
macro_rules! on_sqlite {
    ($($group:ident { $($case:ident)+ })+) => {
        mod sqlite {
            $(mod $group {
                $(#[test]
                fn $case() {
                    crate::$group::$case(&mut crate::Bench::new(crate::Sqlite::new()));
                })+
            })+
        }
    };
}

type Case = (&'static str, fn(&mut Bench));

/// One test for all: they share a server and a database, and each finds it empty.
macro_rules! on_postgres {
    ($($group:ident { $($case:ident)+ })+) => {
        const CASES: &[Case] =
            &[$($((concat!(stringify!($group), "::", stringify!($case)), $group::$case)),+),+];
    };
}

every_case!(on_sqlite);
every_case!(on_postgres);

/// What hangs on these goes with them.
const EMPTY: &str = "SET search_path = vmpulse; DELETE FROM vm; DELETE FROM host_monitor; DELETE FROM host;
                     DELETE FROM removed_vm; DELETE FROM event; ALTER TABLE event ALTER id RESTART; DELETE FROM controller;
                     UPDATE cluster SET host_failure_detection_time_s = 90, vm_failure_detection_speed = 'normal',
                     accepted_versions = '2.0-2.1', running_version = '2.1'; DELETE FROM progress;
                     UPDATE monitor_settings SET log_level = NULL, heartbeat_interval_ms = NULL,
                     store_heartbeat_interval_ms = NULL, versions = NULL";

#[test]
fn postgres() {
    on_a_server("roles.sql", "");
}

/// Whoever writes only its own rows notices nothing of it.
#[test]
fn postgres_with_row_level_security() {
    let logins = "INSERT INTO vmpulse.host_monitor_login SELECT format('ffffffff-0000-0000-0000-%s', lpad(to_hex(n), 12, '0')),
                  'host1' FROM generate_series(1, 9999) n";
    on_a_server("row-level-security.sql", logins);
}

/// Set up by roles.sql, `file` and `logins`.
fn on_a_server(file: &str, logins: &str) {
    let mut server = match Server::start() {
        Ok(server) => server,
        Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
        Err(reason) => panic!("{reason}"),
    };
    let database = server.database();
    // Whoever comes first with the owner's rights makes the schema.
    PostgresStore::open(&server.url("postgres", &database)).unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/postgresql");
    for file in ["roles.sql", file] {
        server.sql_file(&database, &folder.join(file)).unwrap();
    }
    server.sql(&database, logins).unwrap();
    let users = "CREATE ROLE host1 LOGIN IN ROLE vmpulse_hostmon;
                 CREATE ROLE controller1 LOGIN IN ROLE vmpulse_controller";
    server.sql(&database, users).unwrap();
    let urls = ["host1", "controller1"].map(|user| server.url(user, &database));
    let only = std::env::var("CASE").unwrap_or_default();
    let mut failed = Vec::new();
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(&only)) {
        // Quicker than a database for each.
        server.sql(&database, EMPTY).unwrap();
        let run = || case(&mut Bench::new(Postgres(urls.clone())));
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed on PostgreSQL (CASE=name runs one): {failed:#?}");
}

/// A store in a file of its own.
struct Sqlite(tempfile::TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("health.db")
    }
}

impl BackEnd for Sqlite {
    fn connect(&self, clock: FixedClock) -> Box<dyn Store> {
        Box::new(SqliteStore::open(&self.path(), Box::new(clock)).unwrap())
    }
}

/// A store in a database, by the URLs of a host monitor and of a controller.
struct Postgres([String; 2]);

impl BackEnd for Postgres {
    fn connect(&self, clock: FixedClock) -> Box<dyn Store> {
        let open = |url: &str| {
            PostgresStore::open_with(url, Some(Box::new(FixedClock(Arc::clone(&clock.0))))).unwrap()
        };
        let [host_monitor, controller] = &self.0;
        Box::new(ByRole { host_monitor: open(host_monitor), controller: open(controller) })
    }
}
