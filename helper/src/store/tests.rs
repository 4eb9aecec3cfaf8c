use super::*;
use crate::node::tests::attachment;

fn stored(container: &str) -> StoredAttachment {
    StoredAttachment { attachment: attachment(container, "10.244.1.7"), rules: Vec::new() }
}

#[test]
fn attachments_come_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), dir.path()).unwrap();
    store.save(&stored("c1")).unwrap();
    store.save(&stored("c2")).unwrap();
    store.remove(&AttachmentKey::of(&stored("c1").attachment)).unwrap();
    store.remove(&AttachmentKey::of(&stored("c1").attachment)).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.attachments.into_values().collect::<Vec<_>>(), [stored("c2")]);
}

#[test]
fn a_corrupt_file_is_moved_aside_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), dir.path()).unwrap();
    store.save(&stored("c1")).unwrap();
    let bad = dir.path().join("attachments/c2-eth0.json");
    for _ in 0..2 {
        fs::write(&bad, "{\"attachment\": ").unwrap();
        assert_eq!(store.load().unwrap().attachments.len(), 1);
    }
    assert!(!bad.exists());
    assert!(dir.path().join("attachments/c2-eth0.json.corrupt-1").exists());
    assert!(dir.path().join("attachments/c2-eth0.json.corrupt-2").exists());
}

#[test]
fn what_the_plugin_detached_alone_is_handed_over_until_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), dir.path()).unwrap();
    store.save(&stored("c1")).unwrap();
    let path = dir.path().join("attachments/c1-eth0.json");
    fs::rename(&path, dir.path().join("attachments/c1-eth0.json.detached")).unwrap();
    for _ in 0..2 {
        let loaded = store.load().unwrap();
        assert_eq!((loaded.attachments.len(), loaded.detached.len()), (0, 1));
    }
    store.finish(&store.load().unwrap().detached[0]).unwrap();
    assert_eq!(store.load().unwrap().detached.len(), 0);
}

#[test]
fn tables_survive_the_loss_of_the_state_directory() {
    let (state, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tables = BTreeMap::from([("signalling".to_owned(), 10_003)]);
    let allocation = Allocation { tables: tables.clone(), ..Allocation::default() };
    Store::open(state.path(), data.path()).unwrap().save_allocation(&allocation).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let store = Store::open(fresh.path(), data.path()).unwrap();
    assert_eq!(store.allocation().unwrap().tables, tables);
    assert!(!store.knows_paths());
}

#[test]
fn spoilt_tables_are_taken_from_this_boots_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), dir.path()).unwrap();
    let allocation = Allocation { tables: BTreeMap::from([("out".to_owned(), 10_003)]), ..Allocation::default() };
    store.save_allocation(&allocation).unwrap();
    fs::write(dir.path().join("tables"), "[").unwrap();
    assert_eq!(store.allocation().unwrap(), allocation);
    assert!(dir.path().join("tables.corrupt-1").exists());
}

#[test]
fn spoilt_old_values_are_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), dir.path()).unwrap();
    fs::write(dir.path().join("sysctl.json"), "{\"eth1\"").unwrap();
    assert!(!store.saved_values().unwrap().exists());
    assert!(dir.path().join("sysctl.json.corrupt-1").exists());
}
