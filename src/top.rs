//! `penstock top`: what the gateway does, live. It reads the API and nothing else.
//!
//! [`model`] knows what is shown and what keys do, [`draw`] puts it on the screen, [`look`] asks the gateway from a thread
//! of its own, so that keys are answered while it is asked. Here is the terminal.

mod draw;
mod look;
mod model;
mod rates;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::args::TopArgs;
use look::Looker;
use model::{Flow, Model};

/// How long a key waits for the screen at most; new numbers, too.
const TICK: Duration = Duration::from_millis(50);

pub fn top(args: &TopArgs) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!(
            "penstock top needs a terminal\n  fix: use penstock show, or penstock show --json for programs"
        );
    }
    // A gateway that does not run is said in the words of all commands, before the screen is taken.
    let (looker, first) = Looker::start(args)?;
    let mut model = Model::new(first);
    let mut terminal = ratatui::try_init().context("the terminal cannot be set up")?;
    let outcome = run(&mut terminal, &mut model, &looker);
    ratatui::restore();
    outcome
}

fn run(terminal: &mut ratatui::DefaultTerminal, model: &mut Model, looker: &Looker) -> anyhow::Result<()> {
    let mut stale = true;
    loop {
        while let Some(look) = looker.next() {
            model.take(look);
            stale = true;
        }
        if stale {
            terminal.draw(|frame| draw::draw(frame, model))?;
            stale = false;
        }
        if !event::poll(TICK)? {
            continue;
        }
        stale = true;
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match model.key(key) {
                Flow::Quit => return Ok(()),
                Flow::Go => looker.open(model.opened()),
            }
        }
    }
}
