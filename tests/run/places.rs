//! What stands where inside, and whose new files are.

use super::*;

#[test]
fn new_files_belong_to_the_workspaces_owner_with_ordinary_modes() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash("touch file && mkdir -p directory/deep && ln -s file link && : > directory/deep/file && umask 077 && touch private && mkfifo pipe");
        assert_eq!(ran.code, Some(0), "{}", ran.whole());
        let owner = place.account();
        for (name, mode) in [
            ("file", 0o644),
            ("directory", 0o755),
            ("directory/deep", 0o755),
            ("directory/deep/file", 0o644),
            ("private", 0o600),
            ("pipe", 0o600),
        ] {
            let about = fs::symlink_metadata(place.workspace.join(name)).expect("it was made");
            assert_eq!((about.uid(), about.gid(), about.mode() & 0o7777), (owner.uid, owner.gid, mode), "{name}");
        }
    });
}

#[test]
fn files_that_are_there_can_be_changed_replaced_and_removed() {
    in_every_tier(|place| {
        for name in ["changed", "replaced", "removed", "deep/removed", "executable"] {
            place.write(name, "old\n");
        }
        let ran = Jail::new(place).bash(
            "echo more >> changed && echo new > tmp && mv tmp replaced && rm removed && rm -r deep && chmod +x executable && \
             touch -d 2001-01-01 changed && sed -i s/old/edited/ executable && rm -f missing",
        );
        assert_eq!(ran.code, Some(0), "{}", ran.whole());
        assert_eq!(place.read("changed").as_deref(), Some("old\nmore\n"));
        assert_eq!(place.read("replaced").as_deref(), Some("new\n"));
        assert_eq!(place.read("executable").as_deref(), Some("edited\n"));
        assert!(!place.holds("removed") && !place.holds("deep"));
        assert_eq!(fs::metadata(place.workspace.join("executable")).expect("it is there").mode() & 0o777, 0o755);
    });
}

#[test]
fn modes_and_times_of_files_outside_cannot_be_changed() {
    in_every_tier(|place| {
        let outside = place.outside.join("secret");
        place.command("touch").arg(&outside).status().expect("everyone has touch");
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).expect("root or owner");
        let before = fs::metadata(&outside).expect("it is there");
        let path = outside.display();
        let ran = Jail::new(place).bash(&format!(
            "chmod 777 {path}; touch -d 2001-01-01 {path}; chown $(id -u) {path}; chmod 777 ..; \
             chmod 777 ../. ; chmod 777 /proc/self/cwd/../secret; chmod 755 . ; chmod 700 $TMPDIR/. && echo end"
        ));
        assert_eq!(ran.text(), "end", "{}", ran.whole());
        let after = fs::metadata(&outside).expect("it is there");
        assert_eq!((before.mode(), before.mtime()), (after.mode(), after.mtime()), "{}", ran.whole());
        assert_eq!(fs::metadata(&place.outside).expect("it is there").mode() & 0o777, 0o755, "{}", ran.whole());
    });
}

#[test]
fn home_and_tmp_are_private_and_gone_afterwards() {
    in_every_tier(|place| {
        let name = format!("left.{}", place.token);
        let ran = Jail::new(place).bash(&format!(
            "cd $HOME && touch {name} && mkdir .cache && touch $TMPDIR/{name} && ls -A $HOME $TMPDIR | grep -c {name}"
        ));
        assert_eq!(ran.text(), "2", "{}", ran.whole());
        let again = Jail::new(place).bash("ls -A $HOME $TMPDIR | grep -c left; true");
        assert_eq!(again.text(), "0", "{}", again.whole());
        for directory in [place.account().home.clone(), "/tmp".into(), "/var/tmp".into()] {
            assert!(!directory.join(&name).exists(), "{}", directory.display());
        }
    });
}

#[test]
fn a_read_only_profile_changes_nothing() {
    in_every_tier(|place| {
        place.write("file", "old\n");
        let ran = Jail::new(place).profile("readonly").bash(
            "cat file; echo new > file; touch new; rm file; mkdir d; chmod 777 file; echo x > $TMPDIR/x && echo end",
        );
        assert_eq!(ran.text(), "old\nend", "{}", ran.whole());
        assert_eq!(place.read("file").as_deref(), Some("old\n"));
        assert!(!place.holds("new") && !place.holds("d"));
        assert_eq!(fs::metadata(place.workspace.join("file")).expect("it is there").mode() & 0o777, 0o644);
    });
}

#[test]
fn the_command_knows_who_and_where_it_is() {
    in_tiers(Tier::has_namespaces, |place| {
        let ran = Jail::new(place)
            .bash("whoami; echo ~; hostname; id -un; id -gn; getent passwd agent >/dev/null && echo known; pwd");
        assert_eq!(ran.text(), "agent\n/home/agent\nclawjail\nagent\nagent\nknown\n/workspace", "{}", ran.whole());
    });
}
