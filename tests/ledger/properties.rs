//! What holds for every change that proptest can think of.

use proptest::prelude::*;

use super::*;

/// One change of the files.
#[derive(Clone, Debug)]
enum Edit {
    Replace(usize, u8),
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    /// Copies a part somewhere else.
    Copy(usize, usize, usize),
    SwapFiles(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 20));
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (at.clone(), prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 1..20))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at.clone(), 1..2000_usize).prop_map(|(at, length)| Edit::Delete(at, length)),
        (at.clone(), 1..2000_usize, at).prop_map(|(from, length, to)| Edit::Copy(from, length, to)),
        (0..3_usize, 0..3_usize).prop_map(|(one, other)| Edit::SwapFiles(one, other)),
    ]
}

fn apply(edit: &Edit, files: &mut [Vec<u8>]) {
    let which = |at: usize| at % 3;
    match edit {
        Edit::Replace(at, byte) => {
            let file = &mut files[which(*at)];
            if !file.is_empty() {
                let place = at / 3 % file.len();
                file[place] = *byte;
            }
        }
        Edit::Insert(at, bytes) => {
            let file = &mut files[which(*at)];
            let place = at / 3 % (file.len() + 1);
            file.splice(place..place, bytes.iter().copied());
        }
        Edit::Delete(at, length) => {
            let file = &mut files[which(*at)];
            let place = at / 3 % (file.len() + 1);
            file.drain(place..(place + length).min(file.len()));
        }
        Edit::Copy(from, length, to) => {
            let source = &files[which(*from)];
            let place = from / 3 % (source.len() + 1);
            let part = source[place..(place + length).min(source.len())].to_vec();
            let file = &mut files[which(*to)];
            let place = to / 3 % (file.len() + 1);
            file.splice(place..place, part);
        }
        Edit::SwapFiles(one, other) => files.swap(*one, *other),
    }
}

/// Whether it is the ledger as it once was: what a chain alone cannot tell from the present one.
fn is_an_earlier_state(files: &[Vec<u8>], original: &[Vec<u8>]) -> bool {
    files[..2] == original[..2] && original[2].starts_with(&files[2])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_leaves_a_ledger_sound(edits in prop::collection::vec(edit(), 1..4)) {
        let place = Place::with_files_of(1500);
        place.fill(5);
        let original: Vec<Vec<u8>> = (1..=3).map(|number| place.bytes(number)).collect();
        let mut files = original.clone();
        edits.iter().for_each(|edit| apply(edit, &mut files));
        for (number, bytes) in (1..).zip(&files) {
            place.write(number, bytes);
        }
        let report = place.verify();
        if is_an_earlier_state(&files, &original) {
            prop_assert_ne!(report.sound(), Sound::No);
        } else {
            prop_assert_ne!(report.sound(), Sound::Yes, "{:?}", report);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_or_a_writer_stumble(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let place = Place::new();
        place.fill(1);
        place.write(2, &bytes);
        let _ = place.verify();
        let unreadable = query::newest_first(&place.directory(), &Filter::default(), |_| std::ops::ControlFlow::Continue(()));
        prop_assert!(unreadable.is_ok());
        if let Ok(mut writer) = place.try_writer() {
            writer.append(&mut verdict("after")).expect("room for it");
            drop(writer);
            place.assert_sound();
        }
    }
}
