//! A server for all loads, which costs as little as it can.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::tls;

/// Listens on both ports, and serves each connection in a thread.
pub fn begin(port: u16, port_of_tls: u16) {
    listen(port, |client| {
        let reader = client.try_clone().ok()?;
        serve(&mut BufReader::new(reader), &mut &client)
    });
    let config = tls::server();
    listen(port_of_tls, move |client| serve_both(&mut BufReader::new(tls::accept(&config, client))));
}

fn listen(port: u16, serve: impl Fn(TcpStream) -> Option<()> + Clone + Send + 'static) {
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("nobody else is in this network");
    // More may connect at once than the library has wait.
    assert_eq!(nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(2048).expect("small")), Ok(()));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = serve.clone();
            // As many as there are connections: small ones.
            let _ = thread::Builder::new().stack_size(256 << 10).spawn(move || {
                client.set_nodelay(true).ok()?;
                serve(client)
            });
        }
    });
}

/// Over what is one thing for both ways.
fn serve_both<S: Read + Write>(stream: &mut BufReader<S>) -> Option<()> {
    while let Some(Asked::Path(count, closes)) = hear(stream) {
        answer(stream.get_mut(), count, closes)?;
        if closes {
            break;
        }
    }
    None
}

fn serve(reader: &mut impl BufRead, writer: &mut impl Write) -> Option<()> {
    loop {
        match hear(reader)? {
            Asked::Path(count, closes) => {
                answer(writer, count, closes)?;
                if closes {
                    return None;
                }
            }
            Asked::Bytes(count) => return send(writer, count),
            Asked::Byte => writer.write_all(b"p").ok()?,
        }
    }
}

/// What a client wants.
enum Asked {
    /// HTTP: so many bytes, and whether the connection ends with them.
    Path(usize, bool),
    /// So many bytes, and the connection's end.
    Bytes(usize),
    /// One.
    Byte,
}

fn hear(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let Some(path) = line.strip_prefix("GET /") else {
        let count = line.strip_prefix("send ").map(|count| count.trim().parse().ok());
        return count.map_or(Some(Asked::Byte), |count| count.map(Asked::Bytes));
    };
    let count = path.strip_prefix("big/").and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or(2_usize);
    let mut closes = false;
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).ok()?;
        closes |= line.to_ascii_lowercase().starts_with("connection: close");
    }
    Some(Asked::Path(count, closes))
}

fn answer(writer: &mut impl Write, count: usize, closes: bool) -> Option<()> {
    let end = if closes { "Connection: close\r\n" } else { "" };
    writer.write_all(format!("HTTP/1.1 200 OK\r\n{end}Content-Length: {count}\r\n\r\n").as_bytes()).ok()?;
    send(writer, count)
}

fn send(writer: &mut impl Write, mut left: usize) -> Option<()> {
    static PIECE: [u8; 256 << 10] = [b'x'; 256 << 10];
    while left > 0 {
        let length = left.min(PIECE.len());
        writer.write_all(PIECE.get(..length)?).ok()?;
        left -= length;
    }
    writer.flush().ok()
}
