//! A request that became a websocket: frames instead of requests. RFC 6455.
//!
//! Owns the passing on, and the looking through what a client sends where something must not leave: its frames are masked, which is
//! undone for the look.

use std::io;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::http::Extensions;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::spawn_local;

use super::body::Body;
use super::connection::Connection;
use super::head::Asked;
use super::notes;
use crate::egress::needles::{Needles, Search};

/// What is moved at a time.
const PIECE: usize = 16 << 10;

/// Lets both sides change, and passes frames on from then on.
pub fn switch(
    connection: &Rc<Connection>,
    asked: &Asked,
    mut answer: Response<Incoming>,
    extensions: Extensions,
) -> Result<Response<Body>, String> {
    if !asked.websocket {
        return Err("it changed to another protocol without being asked".into());
    }
    let mut request = Request::new(());
    *request.extensions_mut() = extensions;
    let client: OnUpgrade = hyper::upgrade::on(&mut request);
    let server: OnUpgrade = hyper::upgrade::on(&mut answer);
    let holding = connection.clone();
    drop(spawn_local(async move {
        if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
            let _ = pass_frames(&holding, client, server).await;
        }
    }));
    let (head, _) = answer.into_parts();
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

async fn pass_frames(connection: &Connection, client: Upgraded, server: Upgraded) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_server, mut to_server) = tokio::io::split(TokioIo::new(server));
    let out = async {
        let mut look = Look::default();
        let needles = connection.charge.secrets().needles();
        let guard = |piece: &[u8]| {
            if needles.is_some_and(|needles| look.finds(needles, piece)) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            connection.charge.pay(piece.len()).map_err(|denied| {
                connection.charge.open.deny(denied);
                io::ErrorKind::ConnectionAborted.into()
            })
        };
        pass(&mut from_client, &mut to_server, guard).await
    };
    let back = pass(&mut from_server, &mut to_client, |piece| {
        connection.charge.received(piece.len());
        Ok(())
    });
    let passed = tokio::try_join!(out, back).map(drop);
    if passed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        notes::note_placeholder(connection);
    }
    passed
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut guard: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let piece = piece.get(..length).unwrap_or_default();
        guard(piece)?;
        to.write_all(piece).await?;
        to.flush().await?;
    }
}

/// A look through masked frames.
#[derive(Default)]
struct Look {
    head: Vec<u8>,
    mask: [u8; 4],
    /// Bytes of the frame's content that are left, and how many came.
    left: u64,
    come: usize,
    search: Search,
}

impl Look {
    fn finds(&mut self, needles: &Needles, piece: &[u8]) -> bool {
        let (mut found, mut rest) = (false, piece);
        while !rest.is_empty() {
            if self.left == 0 {
                let Some((first, after)) = rest.split_first() else { break };
                self.head.push(*first);
                self.begin();
                rest = after;
                continue;
            }
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            let (content, after) = rest.split_at(most);
            let open: Vec<u8> = content.iter().enumerate().map(|(at, byte)| byte ^ self.key(at)).collect();
            found |= self.search.find(needles, &open);
            self.come = (self.come + most) % 4;
            self.left -= u64::try_from(most).unwrap_or(self.left);
            rest = after;
        }
        found
    }

    fn key(&self, at: usize) -> u8 {
        self.mask.get((self.come + at) % 4).copied().unwrap_or(0)
    }

    /// Takes a frame's head once it is whole.
    fn begin(&mut self) {
        let [_, second, rest @ ..] = self.head.as_slice() else { return };
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = if second & 0x80 == 0 { 0 } else { 4 };
        if rest.len() < extended + masked {
            return;
        }
        let (length, mask) = rest.split_at(extended);
        let long = length.iter().fold(0u64, |length, byte| length << 8 | u64::from(*byte));
        self.left = if extended == 0 { u64::from(second & 0x7f) } else { long };
        self.mask = mask.first_chunk().copied().unwrap_or_default();
        self.come = 0;
        self.head.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "clawjail0123456789abcdef";

    fn frame(content: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let length = match content.len() {
            short @ 0..=125 => vec![0x80 | short as u8],
            middle => [&[0x80 | 126][..], &(middle as u16).to_be_bytes()].concat(),
        };
        let masked = content.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]);
        [&[0x81][..], &length, &mask, &masked.collect::<Vec<_>>()].concat()
    }

    proptest! {
        #[test]
        fn what_must_not_leave_is_found_under_any_mask_and_across_frames(
            mask in any::<[u8; 4]>(), before in 0usize..200, cut in 0usize..24, size in 1usize..50
        ) {
            let text = format!("{}{TEXT}", "x".repeat(before));
            let (one, two) = text.split_at(before + cut);
            let all = [frame(one.as_bytes(), mask), frame(two.as_bytes(), [9, 8, 7, 6])].concat();
            let (mut look, needles) = (Look::default(), Needles::of(TEXT));
            let found = all.chunks(size).any(|piece| look.finds(&needles, piece));
            prop_assert!(found);
            let (mut look, other) = (Look::default(), Needles::of("another-text-that-is-not-there"));
            prop_assert!(!all.chunks(size).any(|piece| look.finds(&other, piece)));
        }

        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Look::default().finds(&Needles::of(TEXT), &bytes);
        }
    }
}
