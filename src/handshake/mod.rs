//! Pure: the opening handshake: what a client asks (`Offer`), what a backend grants (`Agreement`), and
//! the heads that say so.
//!
//! Bytes and header maps in, values, verdicts and bytes out. Who is dialled, and when, is `serve`'s.

mod agreement;
mod answer;
mod offer;
mod request;
mod rfc6455;
mod rfc8441;
mod spelling;

pub use agreement::{Agreement, Disagreement};
pub use answer::{Answer, AnswerError, AnswerReader, Heard};
pub use offer::{Draft, Offer, Refusal};
pub use request::read_offer;
pub use rfc6455::{accept_for, fresh_key};
pub use rfc8441::PROTOCOL;
pub use spelling::write_head;
