//! The program as its users run it: arguments in, output and exit code out.

mod bench;
mod chat;
mod checkpoints;
mod evaluate;
mod golden;
mod help;
mod inspect;
mod interrupt;
mod miniature;
mod program;
mod refusals;
mod serve;
mod table1;
mod train;
