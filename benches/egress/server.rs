//! A server for all loads, which costs as little as it can.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Listens, and serves each connection in a thread.
pub fn begin(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("nobody else is in this network");
    // More may connect at once than the library has wait.
    assert_eq!(nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(2048).expect("small")), Ok(()));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // As many as there are connections: small ones.
            let _ = thread::Builder::new().stack_size(128 << 10).spawn(move || serve(&client));
        }
    });
}

fn serve(client: &TcpStream) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let (mut reader, mut writer) = (BufReader::new(client), client);
    let piece = vec![b'x'; 256 << 10];
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(path) = line.strip_prefix("GET /") {
            let count =
                path.strip_prefix("big/").and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or(2_usize);
            let mut closes = false;
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).ok()?;
                closes |= line.to_ascii_lowercase().starts_with("connection: close");
            }
            let end = if closes { "Connection: close\r\n" } else { "" };
            writer.write_all(format!("HTTP/1.1 200 OK\r\n{end}Content-Length: {count}\r\n\r\n").as_bytes()).ok()?;
            send(writer, &piece, count)?;
            if closes {
                return None;
            }
        } else if let Some(count) = line.strip_prefix("send ") {
            return send(writer, &piece, count.trim().parse().ok()?);
        } else {
            writer.write_all(b"p").ok()?;
        }
    }
}

fn send(mut writer: &TcpStream, piece: &[u8], mut left: usize) -> Option<()> {
    while left > 0 {
        let length = left.min(piece.len());
        writer.write_all(piece.get(..length)?).ok()?;
        left -= length;
    }
    Some(())
}
