//! Numbers for Prometheus, by HTTP on a socket of their own.
//!
//! Whoever may connect may read them: who that is, the socket's group decides. One request a connection, answered and
//! closed; bounded in bytes, time and number, because whoever asks is as little to be trusted as any client.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::service::Service;

/// Connections that are answered at once; the next waits.
const MOST_AT_ONCE: usize = 8;
/// How long one may take, from its first byte to our last.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request.
const MOST_BYTES: usize = 8 << 10;
/// The pause after an error of the system, which would come again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` for as long as the service lives.
pub async fn serve(service: Rc<Service>, listener: OwnedFd) -> std::io::Result<()> {
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(listener))?;
    let turns = std::sync::Arc::new(Semaphore::new(MOST_AT_ONCE));
    loop {
        // Closed never: it is ours.
        let Ok(turn) = turns.clone().acquire_owned().await else { return Ok(()) };
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let service = service.clone();
        tokio::task::spawn_local(async move {
            // Whoever does not read or write in time is not answered.
            let _ = timeout(PATIENCE, attend(&service, connection)).await;
            drop(turn);
        });
    }
}

async fn attend(service: &Service, mut connection: UnixStream) -> std::io::Result<()> {
    let request = read(&mut connection).await?;
    let answer = answer(&request, || service.metrics());
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}

/// The request up to the empty line behind its head, or as much of it as is allowed.
async fn read(connection: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MOST_BYTES {
        if connection.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    Ok(request)
}

fn answer(request: &[u8], metrics: impl FnOnce() -> String) -> String {
    let head = String::from_utf8_lossy(request);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (status, body) = match (words.next(), words.next(), words.next()) {
        (Some("GET"), Some("/metrics"), Some(version)) if version.starts_with("HTTP/1.") => ("200 OK", metrics()),
        (Some("GET"), Some(_), Some(version)) if version.starts_with("HTTP/1.") => {
            ("404 Not Found", "only /metrics is here\n".to_owned())
        }
        (Some(_), Some(_), Some(version)) if version.starts_with("HTTP/1.") => {
            ("405 Method Not Allowed", "only GET is answered\n".to_owned())
        }
        _ => ("400 Bad Request", "no request of HTTP/1\n".to_owned()),
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
