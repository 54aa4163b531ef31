//! Who may write, and where.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[test]
fn there_is_one_writer_at_a_time() {
    let place = Place::new();
    let first = place.writer();
    let refused = place.try_writer().expect_err("the first one is there");
    assert!(matches!(refused, LedgerError::Busy { .. }), "{refused}");
    drop(first);
    place.fill(1);
    place.assert_sound();
}

#[test]
fn writers_that_wait_for_each_other_make_one_chain() {
    let place = Place::with_files_of(3000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let ledger = Ledger::open(place.settings.clone(), Duration::from_secs(30));
                    ledger.and_then(|mut ledger| ledger.append(&mut verdict("x"))).expect("its turn comes");
                }
            });
        }
    });
    assert_eq!(place.words().len(), 100);
    place.assert_sound();
}

#[test]
fn a_lock_cannot_be_held_by_readers() {
    let mut place = Place::new();
    place.settings.access.mode = 0o644;
    place.fill(1);
    let mode = |name: &str| fs::metadata(place.path().join(name)).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!((mode("lock"), mode("00000001.jsonl"), mode(".")), (0o600, 0o644, 0o755));
}

#[test]
fn a_link_on_the_way_is_not_followed() {
    let place = Place::new();
    place.fill(1);
    let top = place.path().parent().expect("a directory");
    symlink(place.path(), top.join("link")).expect("own directory");
    symlink(top, top.join("above")).expect("own directory");
    for path in [top.join("link"), top.join("above/ledger"), top.join("above/other")] {
        let refused = Ledger::open(Settings::own(&path), Duration::ZERO).expect_err("there is a link on the way");
        assert!(refused.hint().is_some_and(|hint| hint.contains("links are not followed")), "{refused:?}");
    }
    let inside = Place::new();
    fs::create_dir(inside.path()).expect("own directory");
    symlink(place.file(1), inside.file(1)).expect("own directory");
    assert!(inside.try_writer().is_err());
    place.fill(1);
    place.assert_sound();
}

#[test]
fn a_directory_or_file_that_others_can_write_is_refused() {
    let place = Place::new();
    place.fill(1);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
    for path in [place.path().to_owned(), place.file(1)] {
        mode(&path, 0o777);
        let refused = place.try_writer().expect_err("others can write it");
        assert!(refused.to_string().contains("others can write it"), "{refused}");
        mode(&path, 0o700);
        drop(place.writer());
    }
}

#[test]
fn what_is_no_file_is_not_opened_and_nobody_waits_for_it() {
    let place = Place::new();
    fs::create_dir(place.path()).expect("own directory");
    nix::unistd::mkfifo(&place.file(1), nix::sys::stat::Mode::S_IRWXU).expect("own directory");
    assert!(place.try_writer().is_err());
    assert!(verify(&place.directory(), Anchors::default(), Duration::ZERO).is_err());
}

#[test]
fn a_change_by_somebody_else_while_it_is_written_stops_the_writer() {
    for change in ["grown", "cut", "removed", "replaced"] {
        let place = Place::new();
        let mut ledger = place.writer();
        ledger.append(&mut verdict("x")).expect("room for it");
        let bytes = place.bytes(1);
        match change {
            "grown" => place.write(1, [&bytes[..], b"x"].concat()),
            "cut" => place.write(1, &bytes[..bytes.len() - 1]),
            "removed" => fs::remove_file(place.file(1)).expect("own file"),
            _ => {
                fs::rename(place.file(1), place.path().join("old")).expect("own file");
                place.write(1, &bytes[..bytes.len() / 2]);
                fs::remove_file(place.path().join("old")).expect("own file");
            }
        }
        let mut next = verdict("y");
        let refused = ledger.append(&mut next).expect_err(change);
        assert!(matches!(refused, LedgerError::Altered { .. }), "{change}: {refused:?}");
        assert_eq!((next.seq, next.digest), (None, None), "{change}");
        // Stray bytes at the end are named by the next file, as torn ones are; what was written cannot be made up for.
        assert_eq!(ledger.append(&mut verdict("y")).is_ok(), change == "grown", "{change}");
    }
}
