//! What one of the kernel's audit records says. Names in records are quoted, or hexadecimal where they hold anything odd; what is
//! neither is not believed.

use std::collections::BTreeMap;

use crate::policy::syscalls::numbers::{Architecture, Call};

/// What was tried, by what it was denied, and on what.
pub type Key = (&'static str, &'static str, Vec<u8>);

/// A record, by the names of its fields.
pub type Fields<'a> = BTreeMap<&'a [u8], Vec<u8>>;

/// The domain of Landlock that it is about.
pub fn domain(fields: &Fields<'_>) -> Option<u64> {
    let text = std::str::from_utf8(fields.get(b"domain".as_slice())?).ok()?;
    u64::from_str_radix(text, 16).ok()
}

/// A number in it.
pub fn number(fields: &Fields<'_>, name: &str) -> Option<u64> {
    std::str::from_utf8(fields.get(name.as_bytes())?).ok()?.parse().ok()
}

/// What Landlock denied.
pub fn access(fields: &Fields<'_>) -> Option<Key> {
    let blockers = std::str::from_utf8(fields.get(b"blockers".as_slice())?).ok()?;
    let field = |name: &str| fields.get(name.as_bytes()).cloned();
    let address = |host: &str, port: &str| {
        let host = field(host).and_then(|host| String::from_utf8(host).ok()).unwrap_or_default();
        Some(format!("{host}:{}", number(fields, port)?).into_bytes())
    };
    let first = blockers.split(',').find(|blocker| *blocker != "fs.read_file" || blockers == "fs.read_file")?;
    let (kind, what) = match first {
        "fs.read_file" => ("read", field("path")),
        "fs.read_dir" => ("list", field("path")),
        "fs.write_file" => ("write", field("path")),
        "fs.truncate" => ("truncate", field("path")),
        "fs.execute" => ("execute", field("path")),
        "fs.make_dir" | "fs.make_reg" | "fs.make_sym" | "fs.make_fifo" | "fs.make_sock" | "fs.make_char"
        | "fs.make_block" => ("make", field("path")),
        "fs.remove_file" | "fs.remove_dir" => ("remove", field("path")),
        "fs.refer" => ("rename", field("path")),
        "fs.change_topology" => ("mount", field("path")),
        "net.connect_tcp" => ("connect", address("daddr", "dest")),
        "net.bind_tcp" => ("listen", address("saddr", "src")),
        "scope.abstract_unix_socket" => ("abstract_socket", field("path")),
        "fs.ioctl_dev" => ("device_control", field("path")),
        // Who that is, nobody inside is to learn.
        "scope.signal" => ("signal", Some(b"a process outside".to_vec())),
        "ptrace" => ("trace", Some(b"a process outside".to_vec())),
        // What a later kernel denies besides is told by its name.
        other => ("other", Some(field("path").unwrap_or_else(|| other.as_bytes().to_vec()))),
    };
    Some((kind, "landlock", what?))
}

/// The name of the call that the filter refused. The record has its answer without the errno.
pub fn refused(fields: &Fields<'_>) -> Option<String> {
    const ERRNO: &[u8] = b"0x50000";
    if fields.get(b"code".as_slice()).map(Vec::as_slice) != Some(ERRNO) {
        return None;
    }
    let wanted = u32::try_from(number(fields, "syscall")?).ok()?;
    let call = Call::all().find(|call| call.number(Architecture::CURRENT) == Some(wanted));
    Some(call.map_or_else(|| format!("number {wanted}"), |call| call.name().to_owned()))
}

/// `name=value` pairs behind the stamp. A value is a word, `"..."`, or hexadecimal for `path` where that is not quoted.
pub fn fields(record: &[u8]) -> Fields<'_> {
    let mut fields = BTreeMap::new();
    let end = record.iter().rposition(|byte| *byte != 0 && *byte != b'\n').map_or(0, |last| last + 1);
    let record = record.get(..end).unwrap_or_default();
    let Some(start) = record.windows(3).position(|three| three == b"): ") else { return fields };
    let mut rest = record.get(start + 3..).unwrap_or_default();
    while let Some(equals) = rest.iter().position(|byte| *byte == b'=') {
        let (name, value) = (rest.get(..equals).unwrap_or_default(), rest.get(equals + 1..).unwrap_or_default());
        let quoted = value.first() == Some(&b'"');
        let (raw, after) = if quoted {
            let inner = value.get(1..).unwrap_or_default();
            let Some(end) = inner.iter().position(|byte| *byte == b'"') else { return fields };
            (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default())
        } else {
            let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
            (value.get(..end).unwrap_or_default(), value.get(end..).unwrap_or_default())
        };
        let name = name.strip_prefix(b" ").unwrap_or(name);
        let decoded = if !quoted && matches!(name, b"path" | b"comm" | b"ocomm" | b"exe") {
            unhexed(raw)
        } else {
            Some(raw.to_vec())
        };
        // What a record says first is the kernel's own; a second of the same name is not believed.
        if let Some(decoded) = decoded {
            fields.entry(name).or_insert(decoded);
        }
        rest = after;
    }
    fields
}

fn unhexed(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks_exact(2).map(|two| Some(digit(*two.first()?)? << 4 | digit(*two.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> Option<Key> {
        access(&fields(text))
    }

    #[test]
    fn records_are_read_as_the_kernel_writes_them() {
        let plain = br#"audit(1700000000.123:45): domain=12d70c672 blockers=fs.read_file path="/root/.bashrc" dev="vda" ino=1235"#;
        assert_eq!(of(plain), Some(("read", "landlock", b"/root/.bashrc".to_vec())));
        assert_eq!(domain(&fields(plain)), Some(0x12d70c672));
        let odd = b"audit(1.2:3): domain=1 blockers=fs.make_reg path=2F610A62FF dev=\"vda\" ino=1\n\0";
        assert_eq!(of(odd), Some(("make", "landlock", b"/a\nb\xff".to_vec())));
        let later = b"audit(1.2:3): domain=1 blockers=fs.of_a_later_kernel";
        assert_eq!(of(later), Some(("other", "landlock", b"fs.of_a_later_kernel".to_vec())));
        let device =
            b"audit(1.2:3): domain=1 blockers=fs.ioctl_dev path=\"/dev/tty\" dev=\"devtmpfs\" ino=1 ioctlcmd=0x5412";
        assert_eq!(of(device), Some(("device_control", "landlock", b"/dev/tty".to_vec())));
        let net = b"audit(1.2:3): domain=1 blockers=net.connect_tcp daddr=192.0.2.1 dest=443";
        assert_eq!(of(net), Some(("connect", "landlock", b"192.0.2.1:443".to_vec())));
        let both = b"audit(1.2:3): domain=1 blockers=fs.execute,fs.read_file path=\"/x\" dev=\"vda\" ino=1";
        assert_eq!(of(both).map(|key| key.0), Some("execute"));
        let call = b"audit(1.2:3): auid=4294967295 uid=7 gid=7 ses=1 pid=9 comm=\"x\" exe=\"/x\" sig=0 arch=c000003e syscall=101 compat=0 ip=0x7 code=0x50000";
        assert_eq!((refused(&fields(call)).as_deref(), number(&fields(call), "uid")), (Some("ptrace"), Some(7)));
    }

    #[test]
    fn what_is_no_record_says_nothing_and_a_name_cannot_say_what_only_the_kernel_says() {
        for text in [
            b"".as_slice(),
            b"audit(",
            b"audit(1): ",
            b"audit(1): path=",
            b"audit(1): path=\"",
            b"audit(1): path=0",
            b"audit(1): ==",
        ] {
            assert_eq!(of(text), None, "{text:?}");
        }
        let forged =
            b"audit(1.2:3): domain=1 blockers=fs.read_file path=2F782220646F6D61696E3D3222 dev=\"vda\" ino=1 domain=2";
        assert_eq!(domain(&fields(forged)), Some(1));
        assert_eq!(of(forged).map(|key| key.2), Some(b"/x\" domain=2\"".to_vec()));
        for cut in 0..forged.len() {
            let _ = of(&forged[..cut]);
        }
    }
}
