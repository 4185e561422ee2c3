//! Domains on the executor, rule by rule.

mod commits;
mod common;
mod contexts;
mod ends;
mod panics;
mod tasks;
mod tokens;
