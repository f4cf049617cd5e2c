//! duroxide's own validations of providers, every one, over one file and over three.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use duroxide::{provider_validations::ProviderFactory, providers::Provider};
use duroxide_grouped::{GroupedProvider, Options, Stats, Synchronous};
use tempfile::TempDir;

/// Makes providers on directories of their own, which live as long as the factory.
struct Factory {
    options: Options,
    made: Mutex<Vec<(TempDir, Arc<GroupedProvider>)>>,
}

impl Factory {
    fn new(shards: usize, long_poll: bool) -> Self {
        let options = Options { shards, long_poll, synchronous: Synchronous::Normal, ..Options::default() };
        Self { options, made: Mutex::default() }
    }

    fn make(&self) -> Arc<GroupedProvider> {
        let directory = tempfile::tempdir().unwrap();
        let provider = Arc::new(GroupedProvider::open(directory.path(), self.options.clone()).unwrap());
        self.made.lock().unwrap().push((directory, Arc::clone(&provider)));
        provider
    }

    /// What the provider made last has done.
    fn stats(&self) -> Stats {
        self.made.lock().unwrap().last().unwrap().1.stats()
    }

    /// Connections of the test's own to the files of the provider made last.
    fn files(&self) -> Vec<rusqlite::Connection> {
        let made = self.made.lock().unwrap();
        made.last().unwrap().1.files().iter().map(|file| rusqlite::Connection::open(file).unwrap()).collect()
    }
}

#[async_trait::async_trait]
impl ProviderFactory for Factory {
    async fn create_provider(&self) -> Arc<dyn Provider> {
        self.make()
    }

    fn lock_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn corrupt_instance_history(&self, instance: &str) {
        let mut corrupted = 0;
        for file in self.files() {
            corrupted += file.execute("UPDATE history SET data = '{' WHERE instance = ?1", [instance]).unwrap();
        }
        assert!(corrupted > 0, "there was something to corrupt");
        self.made.lock().unwrap().last().unwrap().1.forget_kept();
    }

    async fn get_max_attempt_count(&self, instance: &str) -> u32 {
        let sql = "SELECT MAX(attempts) FROM inbox WHERE instance = ?1";
        let count =
            |file: rusqlite::Connection| file.query_row(sql, [instance], |row| row.get::<_, Option<u32>>(0)).unwrap();
        self.files().into_iter().filter_map(count).max().expect("the instance has messages")
    }
}

/// Groups that mostly sleep, and whose subject does not depend on the number of files: over three files they are run
/// with `UPLIFT_SOAK=1` only.
const SLEEPERS: [&str; 5] = ["race_replay", "lock_expiration", "queue_semantics", "error_handling", "poison_message"];

fn is_left_to_the_soak(group: &str) -> bool {
    let soak = env::var_os("UPLIFT_SOAK").is_some_and(|soak| soak == "1");
    !soak && SLEEPERS.contains(&group)
}

macro_rules! validations {
    ($($group:ident in $($path:ident)::+ { $($test:ident),* $(,)? })*) => {
        mod one_file {
            $(mod $group {
                use $($path)::+ as validations;
                $(#[tokio::test]
                async fn $test() {
                    validations::$test(&super::super::Factory::new(1, true)).await;
                })*
            })*
        }

        mod three_files {
            $(mod $group {
                use $($path)::+ as validations;
                $(#[tokio::test]
                async fn $test() {
                    if super::super::is_left_to_the_soak(stringify!($group)) {
                        return;
                    }
                    validations::$test(&super::super::Factory::new(3, true)).await;
                })*
            })*
        }

        /// The validations that take a factory and nothing else.
        const PLAIN: &[&str] = &[$($(stringify!($test)),*),*];
    };
}

validations! {
    instance_creation in duroxide::provider_validations {
        test_instance_creation_via_metadata,
        test_no_instance_creation_on_enqueue,
        test_null_version_handling,
        test_sub_orchestration_instance_creation,
    }
    atomicity in duroxide::provider_validations {
        test_atomicity_failure_rollback,
        test_concurrent_ack_prevention,
        test_lock_released_only_on_successful_ack,
        test_multi_operation_atomic_ack,
    }
    error_handling in duroxide::provider_validations {
        test_corrupted_serialization_data,
        test_duplicate_event_id_rejection,
        test_invalid_lock_token_on_ack,
        test_lock_expiration_during_ack,
        test_missing_instance_metadata,
        test_read_corrupted_history_returns_error,
        test_read_with_execution_corrupted_history_returns_error,
    }
    instance_locking in duroxide::provider_validations {
        test_ack_only_affects_locked_messages,
        test_completions_arriving_during_lock_blocked,
        test_concurrent_instance_fetching,
        test_cross_instance_lock_isolation,
        test_exclusive_instance_lock,
        test_invalid_lock_token_rejection,
        test_lock_token_uniqueness,
        test_message_tagging_during_lock,
        test_multi_threaded_lock_contention,
        test_multi_threaded_lock_expiration_recovery,
        test_multi_threaded_no_duplicate_processing,
    }
    lock_expiration in duroxide::provider_validations {
        test_abandon_releases_lock_immediately,
        test_abandon_work_item_releases_lock,
        test_abandon_work_item_with_delay,
        test_concurrent_lock_attempts_respect_expiration,
        test_lock_expires_after_timeout,
        test_lock_renewal_on_ack,
        test_orchestration_lock_renewal_after_expiration,
        test_worker_ack_fails_after_lock_expiry,
        test_worker_lock_renewal_after_ack,
        test_worker_lock_renewal_after_expiration,
        test_worker_lock_renewal_extends_timeout,
        test_worker_lock_renewal_invalid_token,
        test_worker_lock_renewal_success,
    }
    multi_execution in duroxide::provider_validations {
        test_continue_as_new_creates_new_execution,
        test_execution_history_persistence,
        test_execution_id_sequencing,
        test_execution_isolation,
        test_latest_execution_detection,
    }
    queue_semantics in duroxide::provider_validations {
        test_lost_lock_token_handling,
        test_orphan_queue_messages_dropped,
        test_timer_delayed_visibility,
        test_worker_ack_atomicity,
        test_worker_delayed_visibility_skips_future_items,
        test_worker_item_immediate_visibility,
        test_worker_peek_lock_semantics,
        test_worker_queue_fifo_ordering,
    }
    management in duroxide::provider_validations {
        test_get_execution_info,
        test_get_instance_info,
        test_get_instance_stats_carry_forward,
        test_get_instance_stats_history,
        test_get_instance_stats_kv,
        test_get_instance_stats_kv_delta_only,
        test_get_instance_stats_kv_merged,
        test_get_instance_stats_nonexistent,
        test_get_queue_depths,
        test_get_system_metrics,
        test_list_executions,
        test_list_instances,
        test_list_instances_by_status,
    }
    poison_message in duroxide::provider_validations::poison_message {
        abandon_orchestration_item_ignore_attempt_decrements,
        abandon_work_item_ignore_attempt_decrements,
        attempt_count_is_per_message,
        ignore_attempt_never_goes_negative,
        max_attempt_count_across_message_batch,
        orchestration_attempt_count_increments_on_refetch,
        orchestration_attempt_count_starts_at_one,
        orchestration_delayed_abandon_preserves_unlocked_rows,
        orchestration_ignore_attempt_preserves_hidden_start,
        worker_attempt_count_increments_on_lock_expiry,
        worker_attempt_count_starts_at_one,
    }
    cancellation in duroxide::provider_validations {
        test_ack_work_item_fails_when_entry_deleted,
        test_ack_work_item_none_deletes_without_enqueue,
        test_batch_cancellation_deletes_multiple_activities,
        test_cancelled_activities_deleted_from_worker_queue,
        test_cancelling_nonexistent_activities_is_idempotent,
        test_fetch_returns_missing_state_when_instance_deleted,
        test_fetch_returns_running_state_for_active_orchestration,
        test_fetch_returns_terminal_state_when_orchestration_completed,
        test_fetch_returns_terminal_state_when_orchestration_continued_as_new,
        test_fetch_returns_terminal_state_when_orchestration_failed,
        test_orphan_activity_after_instance_force_deletion,
        test_renew_fails_when_entry_deleted,
        test_renew_returns_missing_when_instance_deleted,
        test_renew_returns_running_when_orchestration_active,
        test_renew_returns_terminal_when_orchestration_completed,
        test_same_activity_in_worker_items_and_cancelled_is_noop,
    }
    deletion in duroxide::provider_validations::deletion {
        test_cascade_delete_hierarchy,
        test_delete_cleans_queues_and_locks,
        test_delete_get_instance_tree,
        test_delete_get_parent_id,
        test_delete_instances_atomic,
        test_delete_instances_atomic_force,
        test_delete_instances_atomic_orphan_detection,
        test_delete_nonexistent_instance,
        test_delete_running_rejected_force_succeeds,
        test_delete_terminal_instances,
        test_force_delete_prevents_ack_recreation,
        test_list_children,
        test_stale_activity_after_delete_recreate,
    }
    prune in duroxide::provider_validations::prune {
        test_prune_bulk,
        test_prune_bulk_includes_running_instances,
        test_prune_options_combinations,
        test_prune_safety,
    }
    bulk_deletion in duroxide::provider_validations::bulk_deletion {
        test_delete_instance_bulk_cascades_to_children,
        test_delete_instance_bulk_completed_before_filter,
        test_delete_instance_bulk_filter_combinations,
        test_delete_instance_bulk_safety_and_limits,
    }
    capability_filtering in duroxide::provider_validations::capability_filtering {
        test_ack_appends_event_to_corrupted_history,
        test_ack_stores_pinned_version_via_metadata_update,
        test_concurrent_filtered_fetch_no_double_lock,
        test_continue_as_new_execution_gets_own_pinned_version,
        test_fetch_corrupted_history_filtered_vs_unfiltered,
        test_fetch_deserialization_error_eventually_reaches_poison,
        test_fetch_deserialization_error_increments_attempt_count,
        test_fetch_filter_applied_before_history_deserialization,
        test_fetch_filter_boundary_versions,
        test_fetch_filter_does_not_lock_skipped_instances,
        test_fetch_filter_null_pinned_version_always_compatible,
        test_fetch_filter_skips_incompatible_selects_compatible,
        test_fetch_single_range_only_uses_first_range,
        test_fetch_with_compatible_filter_returns_item,
        test_fetch_with_filter_none_returns_any_item,
        test_fetch_with_incompatible_filter_skips_item,
        test_filter_with_empty_supported_versions_returns_nothing,
        test_pinned_version_immutable_across_ack_cycles,
        test_pinned_version_stored_via_ack_metadata,
        test_provider_updates_pinned_version_when_told,
    }
    sessions in duroxide::provider_validations::sessions {
        test_abandoned_session_item_ignore_attempt,
        test_abandoned_session_item_retryable,
        test_ack_updates_session_last_activity,
        test_activity_lock_expires_session_lock_valid_same_worker_refetches,
        test_both_locks_expire_different_worker_claims,
        test_cleanup_keeps_active_sessions,
        test_cleanup_keeps_sessions_with_pending_items,
        test_cleanup_removes_expired_no_items,
        test_cleanup_then_new_item_recreates_session,
        test_concurrent_session_claim_only_one_wins,
        test_different_sessions_different_workers,
        test_mixed_session_and_non_session_items,
        test_non_session_items_fetchable_by_any_worker,
        test_non_session_items_returned_with_session_config,
        test_none_session_skips_session_items,
        test_original_worker_reclaims_expired_session,
        test_renew_session_lock_active,
        test_renew_session_lock_after_expiry_returns_zero,
        test_renew_session_lock_no_sessions,
        test_renew_session_lock_skips_idle,
        test_renew_work_item_updates_session_last_activity,
        test_session_affinity_blocks_other_worker,
        test_session_affinity_same_worker,
        test_session_claimable_after_lock_expiry,
        test_session_item_claimable_when_no_session,
        test_session_items_processed_in_order,
        test_session_lock_expires_activity_lock_valid_ack_succeeds,
        test_session_lock_expires_new_owner_gets_redelivery,
        test_session_lock_expires_same_worker_reacquires,
        test_session_lock_renewal_extends_past_original_timeout,
        test_session_takeover_after_lock_expiry,
        test_shared_worker_id_any_caller_can_fetch_owned_session,
        test_some_session_returns_all_items,
    }
    custom_status in duroxide::provider_validations::custom_status {
        test_custom_status_clear,
        test_custom_status_default_on_new_instance,
        test_custom_status_none_preserves,
        test_custom_status_nonexistent_instance,
        test_custom_status_polling_no_change,
        test_custom_status_set,
        test_custom_status_version_increments,
    }
    tag_filtering in duroxide::provider_validations::tag_filtering {
        test_any_filter_fetches_everything,
        test_default_and_fetches_untagged_and_matching,
        test_default_only_fetches_untagged,
        test_multi_runtime_tag_isolation,
        test_multi_tag_filter,
        test_none_filter_returns_nothing,
        test_tag_preserved_through_ack_orchestration_item,
        test_tag_round_trip_preservation,
        test_tag_survives_abandon_and_refetch,
        test_tags_fetches_only_matching,
    }
    kv_store in duroxide::provider_validations::kv_store {
        test_kv_clear_all,
        test_kv_clear_isolation,
        test_kv_clear_nonexistent_key,
        test_kv_clear_single,
        test_kv_cross_execution_overwrite,
        test_kv_cross_execution_remove_readd,
        test_kv_delete_instance_cascades,
        test_kv_delete_instance_with_children,
        test_kv_delta_clear_all_tombstones_store,
        test_kv_delta_client_reads_merged,
        test_kv_delta_delete_instance_cascades,
        test_kv_delta_merged_on_can,
        test_kv_delta_merged_on_completion,
        test_kv_delta_prune_untouched_key_survives,
        test_kv_delta_snapshot_excludes_current_execution,
        test_kv_delta_snapshot_includes_completed_execution,
        test_kv_delta_tombstone_overrides_store,
        test_kv_empty_value,
        test_kv_execution_id_tracking,
        test_kv_get_nonexistent,
        test_kv_get_unknown_instance,
        test_kv_instance_isolation,
        test_kv_large_value,
        test_kv_overwrite,
        test_kv_prune_current_execution_protected,
        test_kv_prune_preserves_all_keys,
        test_kv_prune_preserves_overwritten,
        test_kv_set_after_clear,
        test_kv_set_and_get,
        test_kv_snapshot_after_clear_all,
        test_kv_snapshot_after_clear_single,
        test_kv_snapshot_cross_execution,
        test_kv_snapshot_empty,
        test_kv_snapshot_in_fetch,
        test_kv_special_chars_in_key,
    }
    race_replay in duroxide::provider_validations::race_replay {
        test_duplicate_start_preserves_pinned_handler,
        test_continue_as_new_poisoned_successor_is_own_execution,
        test_continue_as_new_duplicate_start,
        test_queue_race_cancellation_replay,
        test_continue_as_new_queue_race_replay,
        test_queue_replay_version_stamp_roundtrip,
        test_positional_wait_race_replay,
        test_legacy_queue_race_decision_preserved,
    }
}

/// Those that take or need something else, each with a test below.
const OTHERS: [&str; 7] = [
    "test_long_poll_waits_for_timeout",
    "test_long_poll_work_item_waits_for_timeout",
    "test_fetch_respects_timeout_upper_bound",
    "test_short_poll_returns_immediately",
    "test_short_poll_work_item_returns_immediately",
    "test_continue_as_new_transition_delivery",
    "test_continue_as_new_unregistered_backoff",
];

mod with_arguments {
    use duroxide::provider_validations::{long_polling, race_replay};

    use super::{Arc, Duration, Factory};

    /// How fast "at once" is, as duroxide's default has it.
    const THRESHOLD: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn test_long_poll_waits_for_timeout() {
        for shards in [1, 3] {
            long_polling::test_long_poll_waits_for_timeout(&*Factory::new(shards, true).make()).await;
        }
    }

    #[tokio::test]
    async fn test_long_poll_work_item_waits_for_timeout() {
        for shards in [1, 3] {
            long_polling::test_long_poll_work_item_waits_for_timeout(&*Factory::new(shards, true).make()).await;
        }
    }

    #[tokio::test]
    async fn test_fetch_respects_timeout_upper_bound() {
        for long_poll in [true, false] {
            long_polling::test_fetch_respects_timeout_upper_bound(&*Factory::new(1, long_poll).make()).await;
        }
    }

    #[tokio::test]
    async fn test_short_poll_returns_immediately() {
        for shards in [1, 3] {
            let provider = Factory::new(shards, false).make();
            long_polling::test_short_poll_returns_immediately(&*provider, THRESHOLD).await;
        }
    }

    #[tokio::test]
    async fn test_short_poll_work_item_returns_immediately() {
        for shards in [1, 3] {
            let provider = Factory::new(shards, false).make();
            long_polling::test_short_poll_work_item_returns_immediately(&*provider, THRESHOLD).await;
        }
    }

    /// The validation reads "there is nothing to fetch" as "the runtime has put the start off". It is also the answer
    /// while the start is locked for the runtime, which has not yet looked. A runtime that is shut down just then drops
    /// its fetch, the provider makes the start available again at once, and the validation finds what nobody has put
    /// off: its subject was not reached, and it is begun again.
    #[tokio::test]
    async fn test_continue_as_new_unregistered_backoff() {
        const BEGINNINGS_MAX: usize = 50;
        for beginning in 1.. {
            let factory = Arc::new(Factory::new(1, true));
            let validation = tokio::spawn({
                let factory = Arc::clone(&factory);
                async move { race_replay::test_continue_as_new_unregistered_backoff(&*factory).await }
            });
            let Err(failure) = validation.await else { return };
            let failure = failure.into_panic();
            let is_not_put_off = failure
                .downcast_ref::<&str>()
                .is_some_and(|text| text.starts_with("start must be delayed by unregistered-handler backoff"));
            if !is_not_put_off || factory.stats().fetches_given_back == 0 || beginning == BEGINNINGS_MAX {
                std::panic::resume_unwind(failure);
            }
        }
    }

    #[tokio::test]
    async fn test_continue_as_new_transition_delivery_with_a_legacy_stamp() {
        race_replay::test_continue_as_new_transition_delivery(&Factory::new(1, true), "0.1.30").await;
    }

    #[tokio::test]
    async fn test_continue_as_new_transition_delivery_with_a_new_stamp() {
        race_replay::test_continue_as_new_transition_delivery(&Factory::new(1, true), "0.1.31").await;
    }
}

/// Where cargo unpacked the duroxide that this test was built with. Cargo itself is not asked: `cargo metadata` wants crates
/// of other platforms and of other members of the workspace, which a machine that only built this does not have.
fn source_of_duroxide() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    let lock = fs::read_to_string(root.unwrap().join("Cargo.lock")).unwrap();
    let version = lock.split("name = \"duroxide\"\nversion = \"").nth(1).unwrap().split('"').next().unwrap();
    let home = env::var_os("CARGO_HOME").map_or_else(|| env::home_dir().unwrap().join(".cargo"), PathBuf::from);
    let sources = home.join("registry/src");
    let unpacked = fs::read_dir(&sources).into_iter().flatten().flatten();
    let found = unpacked.map(|registry| registry.path().join(format!("duroxide-{version}"))).find(|path| path.is_dir());
    found.unwrap_or_else(|| {
        panic!("duroxide-{version} is not below {}; is CARGO_HOME as it was for the build?", sources.display())
    })
}

/// The list above is the list of duroxide's source: what it makes public of its validations, no more and no less.
#[test]
fn none_is_left_out() {
    let source = source_of_duroxide().join("src/provider_validation");

    let mut theirs = BTreeSet::new();
    for entry in fs::read_dir(&source).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                theirs.insert(rest.split(['<', '(']).next().unwrap().to_owned());
            }
        }
    }
    let ours: BTreeSet<String> = PLAIN.iter().chain(&OTHERS).map(|name| (*name).to_owned()).collect();
    assert_eq!(ours.len(), PLAIN.len() + OTHERS.len(), "a name is there twice");
    assert!(theirs.len() > 200, "only {} found in {}", theirs.len(), source.display());
    assert_eq!(ours, theirs);
}
