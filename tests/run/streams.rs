//! stdin, stdout and stderr.

use super::*;

#[test]
fn all_bytes_pass_unchanged_in_both_directions() {
    in_every_tier(|place| {
        let bytes: Vec<u8> = (0..=255u8).cycle().take(3_000_001).collect();
        let ran = Jail::new(place).input(bytes.clone()).run(["cat"]);
        assert!(ran.stdout == bytes, "{} bytes of {}", ran.stdout.len(), bytes.len());
        let ran = Jail::new(place).input(bytes.clone()).bash("cat >&2");
        assert!(ran.stderr == bytes, "{} bytes of {}", ran.stderr.len(), bytes.len());
        let ran = Jail::new(place).bash("printf 'no newline'; printf error >&2");
        assert_eq!((ran.stdout.as_slice(), ran.stderr.as_slice()), (&b"no newline"[..], &b"error"[..]));
    });
}

#[test]
fn the_end_of_input_is_seen() {
    in_every_tier(|place| {
        assert_eq!(Jail::new(place).run(["wc", "-c"]).text(), "0");
        assert_eq!(Jail::new(place).input("one\ntwo").run(["wc", "-l"]).text(), "1");
    });
}

#[test]
fn closed_streams_of_the_caller_are_no_reason_to_fail() {
    in_every_tier(|place| {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let jail = Jail::new(place);
            let inner = jail.command(["bash", "-c", "echo out; echo error >&2; cat; echo done > done; exit 7"]);
            let words: Vec<String> = std::iter::once(inner.get_program())
                .chain(inner.get_args())
                .map(|word| format!("'{}'", word.to_string_lossy()))
                .collect();
            let ended = place
                .host("bash")
                .args(["-c", &format!("{} {closed}", words.join(" "))])
                .stdin(Stdio::null())
                .output()
                .expect("everyone has bash");
            assert_eq!(ended.status.code(), Some(7), "{closed}: {ended:?}");
            assert!(place.holds("done"), "{closed}: it did not run");
            let _ = fs::remove_file(place.workspace.join("done"));
        }
    });
}

#[test]
fn a_reader_who_leaves_ends_the_command_as_it_would_without_us() {
    in_every_tier(|place| {
        let jail = Jail::new(place);
        let mut child = start_script(&jail, "yes; echo $? > result; exit 3");
        let mut stdout = child.stdout.take().expect("asked for");
        std::io::Read::read_exact(&mut stdout, &mut [0; 4]).expect("yes writes");
        drop(stdout);
        let ended = jail.finish(child);
        assert!(!ended.hung, "{}", ended.whole());
        assert_eq!(place.read("result").as_deref(), Some("141\n"), "{}", ended.whole());
    });
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    in_every_tier(|place| {
        let jail = Jail::new(place);
        let mut command = jail.command(["bash", "-c", "head -c 1M /dev/zero"]);
        let full = fs::File::options().write(true).open("/dev/full").expect("every host has it");
        command.stdin(Stdio::null()).stdout(Stdio::from(full)).stderr(Stdio::piped());
        let ran = jail.finish(command.spawn().expect("the binary can be executed"));
        assert!(ran.code == Some(125) && ran.error_text().contains("No space left"), "{}", ran.whole());
    });
}
