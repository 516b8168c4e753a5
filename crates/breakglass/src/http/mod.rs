//! The routes: who may ask, what is asked, and what is answered.
//!
//! Everything under `/api` needs a sign-in ([`auth`]); the console's files and `/health` do not.
//! Bodies are bounded, and every refusal is `{"detail": "…"}`.

pub mod answers;
pub mod auth;
pub mod pace;
pub mod pages;
pub mod routes;
pub mod stream;
