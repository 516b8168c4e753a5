//! What every HTTP server of ours needs, whatever it serves: connections within bounds
//! ([`Bound`]), bearer tokens that are kept as hashes ([`TokenHash`]), networks whose headers are
//! believed ([`Networks`]), whether a browser sent a request from our own page ([`sender`]), and
//! where a client resumes a stream ([`last_event_id`]).
//!
//! The control plane's webhooks, the gateway and the emergency console use this crate. It knows
//! none of them, decides nothing about their routes, and reads no configuration.

mod networks;
mod origin;
mod resume;
mod server;
mod token;

pub use networks::{NetworkError, Networks};
pub use origin::{Sender, sender};
pub use resume::last_event_id;
pub use server::{Bound, Limits, ServerError};
pub use token::{TokenHash, bearer};
