//! The hostile program's sockets.

use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::errno::Errno;

use super::attack::{call, errno, integer};

/// Tries one operation.
pub fn attempt(name: &str, words: &[CString]) -> Result<String, Errno> {
    let number = |at: usize| integer(words.get(at));
    let word = |at: usize| words[at].to_str().expect("an address is ASCII");
    match name {
        "socket" => call(libc::SYS_socket, &[number(1), number(2), number(3)]).map(closed),
        "socketpair" => pair(number(1), number(2)).map(|_| String::new()),
        "families" => Ok(families()),
        "pair-sendto" => send_from_pair(number(1), &words[2], Way::Sendto),
        "pair-sendmsg" => send_from_pair(number(1), &words[2], Way::Sendmsg),
        "pair-sendmmsg" => send_from_pair(number(1), &words[2], Way::Sendmmsg),
        "pair-connect" => connect_pair(number(1), &words[2]),
        "unix-connect" => connect_unix(&words[1]),
        "tcp-connect" => connect_tcp(word(1)),
        "udp-send" => send_udp(word(1)),
        "loopback" => loopback(),
        "loopback-udp" => loopback_udp(),
        "pair" => use_pair(number(1)),
        _ => panic!("no operation `{name}`"),
    }
}

enum Way {
    Sendto,
    Sendmsg,
    Sendmmsg,
}

fn closed(descriptor: i64) -> String {
    let _ = call(libc::SYS_close, &[descriptor]);
    String::new()
}

fn pair(kind: i64, protocol: i64) -> Result<[i32; 2], Errno> {
    let mut ends = [0i32; 2];
    call(libc::SYS_socketpair, &[libc::AF_UNIX.into(), kind, protocol, ends.as_mut_ptr() as i64])?;
    Ok(ends)
}

/// The address of a unix socket; a leading `@` stands for the NUL of an abstract name.
fn address(name: &CString) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    match name.as_bytes() {
        [b'@', rest @ ..] => {
            bytes.push(0);
            bytes.extend_from_slice(rest);
        }
        path => {
            bytes.extend_from_slice(path);
            bytes.push(0);
        }
    }
    bytes
}

fn connect_unix(name: &CString) -> Result<String, Errno> {
    let socket = call(libc::SYS_socket, &[libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0])?;
    let address = address(name);
    call(libc::SYS_connect, &[socket, address.as_ptr() as i64, address.len() as i64]).map(|_| String::new())
}

fn connect_pair(kind: i64, name: &CString) -> Result<String, Errno> {
    let [end, _] = pair(kind, 0)?;
    let address = address(name);
    call(libc::SYS_connect, &[end.into(), address.as_ptr() as i64, address.len() as i64]).map(|_| String::new())
}

fn send_from_pair(kind: i64, name: &CString, way: Way) -> Result<String, Errno> {
    let [end, _] = pair(kind, 0)?;
    let mut address = address(name);
    let mut text = *b"escaped";
    if let Way::Sendto = way {
        let arguments = [end.into(), text.as_ptr() as i64, 7, 0, address.as_ptr() as i64, address.len() as i64];
        return call(libc::SYS_sendto, &arguments).map(|_| String::new());
    }
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: all zero is a message without anything; what is needed follows.
    let mut messages: [libc::mmsghdr; 1] = unsafe { std::mem::zeroed() };
    messages[0].msg_hdr.msg_name = address.as_mut_ptr().cast();
    messages[0].msg_hdr.msg_namelen = address.len() as u32;
    messages[0].msg_hdr.msg_iov = &raw mut part;
    messages[0].msg_hdr.msg_iovlen = 1;
    let first = messages.as_ptr() as i64;
    match way {
        Way::Sendmmsg => call(libc::SYS_sendmmsg, &[end.into(), first, 1, 0]),
        _ => call(libc::SYS_sendmsg, &[end.into(), first, 0]),
    }
    .map(|_| String::new())
}

/// A pair talks to itself.
fn use_pair(kind: i64) -> Result<String, Errno> {
    let [one, other] = pair(kind, 0)?;
    let mut byte = [0u8; 1];
    call(libc::SYS_write, &[one.into(), b"x".as_ptr() as i64, 1])?;
    call(libc::SYS_read, &[other.into(), byte.as_mut_ptr() as i64, 1])?;
    Ok(String::from_utf8_lossy(&byte).into_owned())
}

fn connect_tcp(to: &str) -> Result<String, Errno> {
    let to: SocketAddr = to.parse().expect("an address");
    match TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
        Ok(_) => Ok(String::new()),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Errno::ETIMEDOUT),
        Err(error) => Err(errno(error)),
    }
}

fn send_udp(to: &str) -> Result<String, Errno> {
    let to: SocketAddr = to.parse().expect("an address");
    let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(from).map_err(errno)?;
    socket.send_to(b"escaped", to).map(|_| String::new()).map_err(errno)
}

fn loopback() -> Result<String, Errno> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(errno)?;
    let mut client = TcpStream::connect(listener.local_addr().map_err(errno)?).map_err(errno)?;
    let (mut server, _) = listener.accept().map_err(errno)?;
    server.write_all(b"hello").map_err(errno)?;
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).map_err(errno)?;
    Ok(text)
}

fn loopback_udp() -> Result<String, Errno> {
    let receiver = UdpSocket::bind("127.0.0.1:0").map_err(errno)?;
    let sender = UdpSocket::bind("127.0.0.1:0").map_err(errno)?;
    sender.send_to(b"hello", receiver.local_addr().map_err(errno)?).map_err(errno)?;
    let mut bytes = [0; 16];
    let (count, _) = receiver.recv_from(&mut bytes).map_err(errno)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// Every family with every type: those that can be made, as `family/type` and `pair:family/type`.
fn families() -> String {
    let mut made = Vec::new();
    for family in 0..=64 {
        for kind in [1, 2, 3, 4, 5, 6, 10] {
            if let Ok(descriptor) = call(libc::SYS_socket, &[family, kind, 0]) {
                made.push(format!("{family}/{kind}"));
                closed(descriptor);
            }
            let mut ends = [0i32; 2];
            if call(libc::SYS_socketpair, &[family, kind, 0, ends.as_mut_ptr() as i64]).is_ok() {
                made.push(format!("pair:{family}/{kind}"));
                ends.iter().for_each(|end| drop(closed((*end).into())));
            }
        }
    }
    made.join(",")
}
