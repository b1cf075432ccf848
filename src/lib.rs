#![doc = include_str!("ARCHITECTURE.md")]

pub mod cli;

pub mod app;
pub mod log;

pub mod config;

pub mod admin;
pub mod demo;

pub mod serve;

pub mod session;
pub mod upstream;

pub mod listen;
pub mod tls;
pub mod tunnel;

pub mod handshake;
pub mod route;

pub mod frame;
pub mod headers;
pub mod metrics;
pub mod net;
pub mod record;

pub mod base;
