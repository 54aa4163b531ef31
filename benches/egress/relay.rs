//! What any end of TLS costs on this machine: a relay that deciphers and enciphers and does nothing else. It reads no HTTP, judges
//! nothing and has no event loop, so that no gate can be faster.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::ground::PORT_OF_TLS;
use super::tls;

/// Where it listens, on the loopback.
pub const PORT: u16 = 8444;

/// What the gate reads at a time, too.
const MUCH: usize = 64 << 10;

/// Relays connection after connection to `host`.
pub fn serve(host: &str) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("nobody else is in this network");
    println!("listening");
    for client in listener.incoming().flatten() {
        // One at a time has anything to do; the last waits for a server that has said all.
        let host = host.to_owned();
        std::thread::spawn(move || relay(client, &host));
    }
}

/// One request to the server, and whatever comes back until the client has gone.
fn relay(client: TcpStream, host: &str) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let server = super::load::open(host, PORT_OF_TLS);
    let server = ClientConnection::new(tls::client(), host.to_owned().try_into().ok()?).ok()?.with(server);
    let mut client = ServerConnection::new(tls::cheapest_server()).ok()?.with(client);
    let (mut server, mut piece) = (server, vec![0; MUCH]);
    let length = client.read(&mut piece).ok()?;
    server.write_all(piece.get(..length)?).ok()?;
    loop {
        let length = server.read(&mut piece).ok()?;
        client.write_all(piece.get(..length)?).ok()?;
    }
}

/// A socket of which much is read at a time: TLS asks for 4 KiB.
struct Socket(BufReader<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let taken = {
            let available = self.0.fill_buf()?;
            let length = available.len().min(buffer.len());
            buffer[..length].copy_from_slice(&available[..length]);
            length
        };
        self.0.consume(taken);
        Ok(taken)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
        self.0.get_mut().write_vectored(slices)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.get_mut().flush()
    }
}

trait Over: Sized {
    fn with(self, socket: TcpStream) -> StreamOwned<Self, Socket>;
}

impl Over for ClientConnection {
    fn with(self, socket: TcpStream) -> StreamOwned<Self, Socket> {
        StreamOwned::new(self, Socket(BufReader::with_capacity(MUCH, socket)))
    }
}

impl Over for ServerConnection {
    fn with(self, socket: TcpStream) -> StreamOwned<Self, Socket> {
        StreamOwned::new(self, Socket(BufReader::with_capacity(MUCH, socket)))
    }
}
