//! Converts keys to a [`Config`](super::Config) and checks contradictions, with one file per
//! section.

mod accounts;
mod admin;
mod audit;
mod document;
mod grants;
mod listeners;
mod notify;
mod providers;
mod registrations;
mod smtp;
mod store;
mod unauthenticated;
mod users;
mod writable;

pub(super) use document::{load, parse};
pub(super) use providers::presets;
