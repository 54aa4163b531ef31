//! Bodies on their way: counted, looked into, and passed on as they come.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::charge::Charge;
use crate::egress::needles::{Blotter, Search};
use crate::egress::unpack::{Coding, Unpacking};
use crate::policy::egress::Denied;

/// What breaks a body off.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A body.
pub enum Body {
    /// All of it; none any more when it was taken.
    Whole(Option<Bytes>),
    /// From the client.
    Out(Out),
    /// From the server.
    Back(Back),
}

/// What a client sends.
pub struct Out {
    incoming: Incoming,
    charge: Rc<Charge>,
    search: Search,
    /// Where it is compressed: what unpacks it, and the search through that.
    packed: Option<(Unpacking, Search)>,
    /// Read by whoever sends it.
    found: Rc<RefCell<Finding>>,
}

/// Why a body did not go on to its end, if it did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Finding {
    /// It did, so far.
    #[default]
    Nothing,
    /// It holds what stands for a secret.
    Placeholder,
    /// Whether it does cannot be told.
    Unreadable,
    /// There is a limit.
    Denied(Denied),
}

/// What a server answers.
pub struct Back {
    incoming: Incoming,
    charge: Rc<Charge>,
    blotter: Option<Blotter>,
    ended: bool,
}

impl Body {
    /// All of it.
    pub fn whole(text: impl Into<Bytes>) -> Body {
        Body::Whole(Some(text.into()))
    }

    /// From a client. What is found is told there.
    pub fn out(incoming: Incoming, coding: Coding, charge: Rc<Charge>, found: Rc<RefCell<Finding>>) -> Body {
        let packed = Unpacking::of(coding).map(|unpacking| (unpacking, Search::default()));
        Body::Out(Out { incoming, charge, search: Search::default(), packed, found })
    }

    /// From a server.
    pub fn back(incoming: Incoming, charge: Rc<Charge>, blotter: Option<Blotter>) -> Body {
        Body::Back(Back { incoming, charge, blotter, ended: false })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Body::Whole(text) => {
                Poll::Ready(text.take().filter(|text| !text.is_empty()).map(|text| Ok(Frame::data(text))))
            }
            Body::Out(out) => out.poll(context),
            Body::Back(back) => back.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(text) => text.as_ref().is_none_or(Bytes::is_empty),
            Body::Out(out) => out.incoming.is_end_stream(),
            Body::Back(back) => back.incoming.is_end_stream() && back.blotter.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Body::Out(out) => out.incoming.size_hint(),
            Body::Back(back) => back.incoming.size_hint(),
        }
    }
}

impl Out {
    /// Looks for what stands for a secret, in what is sent and in what that unpacks to.
    fn look_through(&mut self, piece: &[u8]) -> Finding {
        let Some(needles) = self.charge.secrets().needles() else { return Finding::Nothing };
        let mut found = self.search.find(needles, piece);
        if let Some((unpacking, search)) = &mut self.packed
            && unpacking.feed(piece, &mut |text| found |= search.find(needles, text)).is_err()
        {
            return Finding::Unreadable;
        }
        if found { Finding::Placeholder } else { Finding::Nothing }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            let frame = match std::task::ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
            };
            // Fields after a body change what it means for some servers: none is passed on.
            let Ok(piece) = frame.into_data() else { continue };
            match self.look_through(&piece) {
                Finding::Nothing => {}
                finding => {
                    *self.found.borrow_mut() = finding;
                    return Poll::Ready(Some(Err("it holds what must not leave".into())));
                }
            }
            if let Err(denied) = self.charge.pay(piece.len()) {
                *self.found.borrow_mut() = Finding::Denied(denied);
                return Poll::Ready(Some(Err("no more may leave".into())));
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
    }
}

impl Back {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let frame = match std::task::ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
                None => {
                    self.ended = true;
                    let rest = self.blotter.as_mut().map(Blotter::rest).unwrap_or_default();
                    return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))));
                }
            };
            let piece = match frame.into_data() {
                Ok(piece) => piece,
                // What was held back belongs before them, and they are the end.
                Err(trailers) => {
                    let rest = self.blotter.as_mut().map(Blotter::rest).unwrap_or_default();
                    return if rest.is_empty() {
                        Poll::Ready(Some(Ok(trailers)))
                    } else {
                        self.ended = true;
                        Poll::Ready(Some(Ok(Frame::data(rest))))
                    };
                }
            };
            self.charge.received(piece.len());
            let piece = self.blotter.as_mut().map_or_else(|| piece.clone(), |blotter| blotter.pass(piece.clone()));
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
    }
}
