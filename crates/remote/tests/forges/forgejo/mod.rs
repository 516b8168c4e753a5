//! Forgejo and Gitea.

mod answers;
mod doctor;
mod known_faults;
mod scale;
mod trust;
