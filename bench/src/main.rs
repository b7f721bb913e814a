//! What `bench/run` measures with: how fast the cryptographic library signs by itself, and a caller
//! that asks for tokens as fast as it is told to. It prints one JSON object, and knows nothing of the
//! processes that it loads: `bench/run` starts them and reads their CPU time.

mod clock;
mod raw;
mod tokens;

use clap::{Parser, Subcommand};

/// Measures jwksd; `bench/run` calls it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Raw(raw::Arguments),
    Tokens(tokens::Arguments),
}

fn main() -> anyhow::Result<()> {
    let answer = match Arguments::parse().command {
        Command::Raw(arguments) => raw::run(&arguments)?,
        Command::Tokens(arguments) => tokens::run(&arguments)?,
    };
    println!("{answer}");
    Ok(())
}
