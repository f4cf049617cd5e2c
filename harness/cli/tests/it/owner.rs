//! Two crates that may not know each other write the label of a container's owner: it must be one label.

#[test]
fn one_process_has_one_label() {
    assert_eq!(uplift_postgres_service::owner::label(), uplift_docker::owner::Owner::current().label());
}
