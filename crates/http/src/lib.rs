//! What every HTTP server of ours needs, whatever it serves: connections within bounds
//! ([`Bound`]), bearer tokens that are kept as hashes ([`TokenHash`]), networks whose headers are
//! believed ([`Networks`]), and whether a browser sent a request from our own page ([`sender`]).
//!
//! The control plane's webhooks, the gateway and the emergency console use it. It knows none of
//! them, decides nothing about their routes, and reads no configuration.

mod networks;
mod origin;
mod server;
mod token;

pub use networks::{NetworkError, Networks};
pub use origin::{Sender, sender};
pub use server::{Bound, Limits, ServerError};
pub use token::{TokenHash, bearer};
