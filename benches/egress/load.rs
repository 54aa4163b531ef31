//! What the bench does as a client, inside a jail or outside of any. Says one number.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::ground::{PORT, PORT_OF_TLS};
use super::tls;

/// Does a load, if these words ask for one: `load HOST KIND COUNT`.
pub fn serve(words: &[String]) -> bool {
    let [word, host, kind, count] = words else { return false };
    if word != "load" {
        return false;
    }
    let count = count.parse().expect("a number");
    if kind == "server" {
        super::server::begin(PORT, PORT_OF_TLS);
        println!("listening");
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        return true;
    }
    let result = match kind.as_str() {
        "bulk" => bulk(host, count),
        "bulk-tls" => bulk_by_tls(host, count),
        "requests" => requests(&mut open(host, PORT), host, count),
        "requests-tls" => requests(&mut tls::connect(host, open(host, PORT_OF_TLS)), host, count),
        "connect" => connect(host, count),
        _ => many(host, count),
    };
    println!("{result}");
    true
}

fn open(host: &str, port: u16) -> TcpStream {
    let stream = TcpStream::connect((host, port)).expect("the server listens");
    stream.set_nodelay(true).expect("a socket has that");
    stream
}

/// Bytes a second.
fn bulk(host: &str, count: usize) -> f64 {
    let mut stream = open(host, PORT);
    let (begin, mut left, mut piece) = (Instant::now(), count, vec![0; 256 << 10]);
    stream.write_all(format!("send {count}\n").as_bytes()).expect("it hears");
    while left > 0 {
        let length = stream.read(&mut piece).expect("it sends");
        assert!(length > 0, "{left} bytes are missing");
        left -= length;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

/// Bytes a second of an answer inside TLS, that of the handshake and the head included.
fn bulk_by_tls(host: &str, count: usize) -> f64 {
    let (mut piece, begin) = (vec![0; 256 << 10], Instant::now());
    let mut stream = tls::connect(host, open(host, PORT_OF_TLS));
    let head = format!("GET /big/{count} HTTP/1.1\r\nHost: {host}:{PORT_OF_TLS}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it hears");
    let mut length = 0;
    let body = loop {
        length += stream.read(&mut piece[length..]).expect("it answers");
        if let Some(end) = piece[..length].windows(4).position(|four| four == b"\r\n\r\n") {
            break length - end - 4;
        }
    };
    let mut left = count - body;
    while left > 0 {
        let length = stream.read(&mut piece).expect("it sends");
        assert!(length > 0, "{left} bytes are missing");
        left -= length;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

/// Requests a second on one connection that is kept.
fn requests(stream: &mut (impl Read + Write), host: &str, count: usize) -> f64 {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n");
    let (begin, mut piece) = (Instant::now(), vec![0; 4096]);
    for _ in 0..count {
        stream.write_all(request.as_bytes()).expect("it hears");
        let mut length = 0;
        while !piece[..length].ends_with(b"xx") {
            length += stream.read(&mut piece[length..]).expect("it answers");
        }
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

/// The median of the nanoseconds until a connection has carried a byte there and back.
fn connect(host: &str, count: usize) -> f64 {
    let times = (0..count).map(|_| {
        let begin = Instant::now();
        let mut stream = open(host, PORT);
        stream.write_all(b"p\n").expect("it hears");
        stream.read_exact(&mut [0]).expect("it answers");
        begin.elapsed().as_nanos() as f64
    });
    super::median(times.collect())
}

/// Milliseconds until so many connections have all carried a byte; held until stdin ends.
fn many(host: &str, count: usize) -> f64 {
    let begin = Instant::now();
    let mut held: Vec<TcpStream> = (0..count).map(|_| open(host, PORT)).collect();
    held.iter_mut().for_each(|stream| stream.write_all(b"p\n").expect("it hears"));
    held.iter_mut().for_each(|stream| stream.read_exact(&mut [0]).expect("it answers"));
    let time = super::millis(begin.elapsed());
    println!("held");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    time
}
