//! What is shown, and what keys do. No terminal, no socket: looks and keys come in, rows go out.

use penstock_control::api::{CoreRole, CoreRow, DropRow, PortRow, TunnelRow, TunnelState};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::look::{Look, Name};
use super::rates::{Rate, Rates};
use crate::show::tunnels::state;

/// The pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Tunnels,
    Cores,
    Drops,
    Ports,
}

impl View {
    pub const ALL: [Self; 4] = [Self::Tunnels, Self::Cores, Self::Drops, Self::Ports];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tunnels => "tunnels",
            Self::Cores => "cores",
            Self::Drops => "drops",
            Self::Ports => "ports",
        }
    }
}

/// What tunnels are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Name,
    State,
    Encap,
    Decap,
    Drops,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Name, Self::State, Self::Encap, Self::Decap, Self::Drops];

    fn next(self) -> Self {
        let here = Self::ALL.iter().position(|sort| *sort == self).unwrap_or_default();
        Self::ALL[(here + 1) % Self::ALL.len()]
    }

    /// The largest first, where that is what one looks for.
    fn falls(self) -> bool {
        matches!(self, Self::Encap | Self::Decap | Self::Drops)
    }
}

/// From the top down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Rising,
    Falling,
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Go,
    Quit,
}

/// Counters of a tunnel, as they stand in its rates.
pub mod of_tunnel {
    pub const ENCAP_PACKETS: usize = 0;
    pub const ENCAP_BYTES: usize = 1;
    pub const DECAP_PACKETS: usize = 2;
    pub const DECAP_BYTES: usize = 3;
    pub const DROPS: usize = 4;
}

/// The same of a core.
pub mod of_core {
    pub const RX: usize = 0;
    pub const TX: usize = 1;
    pub const HANDLED: usize = 2;
    pub const CYCLES: usize = 3;
    pub const BURSTS: usize = 4;
    pub const DROPS: usize = 5;
}

/// The same of a port.
pub mod of_port {
    pub const RX_PACKETS: usize = 0;
    pub const RX_BYTES: usize = 1;
    pub const TX_PACKETS: usize = 2;
    pub const TX_BYTES: usize = 3;
    pub const LOST: usize = 4;
}

/// The whole gateway's.
#[derive(Debug, Default)]
pub struct Totals {
    pub rx_packets: Rate,
    pub rx_bytes: Rate,
    pub tx_packets: Rate,
    pub tx_bytes: Rate,
    pub dropped: Rate,
    pub lost: Rate,
}

/// All of it.
pub struct Model {
    pub look: Look,
    /// Why there is nothing newer.
    pub problem: Option<String>,
    pub view: View,
    pub sort: Sort,
    pub reversed: bool,
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    pub paused: bool,
    pub selected: usize,
    pub totals: Totals,
    pub tunnels: Rates<Name, 5>,
    pub cores: Rates<u32, 6>,
    pub drops: Rates<String, 1>,
    pub ports: Rates<String, 5>,
    open: Option<Name>,
}

pub fn name(tunnel: &TunnelRow) -> Name {
    (tunnel.tenant.clone(), tunnel.name.clone())
}

fn lost(port: &PortRow) -> u64 {
    port.counters.rx_missed + port.counters.rx_no_buffer
}

impl Model {
    /// As of the first look: there are no rates yet.
    pub fn new(look: Look) -> Self {
        let mut model = Self {
            look: look.clone(),
            problem: None,
            view: View::Tunnels,
            sort: Sort::Name,
            reversed: false,
            filter: String::new(),
            typing: false,
            paused: false,
            selected: 0,
            totals: Totals::default(),
            tunnels: Rates::default(),
            cores: Rates::default(),
            drops: Rates::default(),
            ports: Rates::default(),
            open: None,
        };
        model.count(&look, 0.0);
        model
    }

    /// The tunnel that is open.
    pub fn opened(&self) -> Option<Name> {
        self.open.clone()
    }

    /// Takes a look, or why there was none. While paused the screen stays as it is.
    pub fn take(&mut self, look: Result<Look, String>) {
        match look {
            Ok(_) if self.paused => {}
            Ok(look) => {
                let seconds = look.at.saturating_duration_since(self.look.at).as_secs_f64();
                self.count(&look, seconds);
                self.look = look;
                self.problem = None;
                self.keep_selected();
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    fn count(&mut self, look: &Look, seconds: f64) {
        let sum = |of: fn(&PortRow) -> u64| look.ports.iter().map(of).sum::<u64>();
        let totals = &mut self.totals;
        totals.rx_packets.take(sum(|port| port.counters.rx_packets), seconds);
        totals.rx_bytes.take(sum(|port| port.counters.rx_bytes), seconds);
        totals.tx_packets.take(sum(|port| port.counters.tx_packets), seconds);
        totals.tx_bytes.take(sum(|port| port.counters.tx_bytes), seconds);
        totals.lost.take(sum(lost), seconds);
        totals.dropped.take(look.status.dropped, seconds);
        let tunnel = |t: &TunnelRow| {
            (name(t), [t.encap.packets, t.encap.bytes, t.decap.packets, t.decap.bytes, t.drops])
        };
        self.tunnels.take(look.tunnels.iter().map(tunnel), seconds);
        let core = |c: &CoreRow| {
            let handled = c.rx_packets + c.injected + c.handed_in;
            (c.core, [c.rx_packets, c.tx_packets, handled, c.busy_cycles, c.rx_bursts, c.dropped])
        };
        self.cores.take(workers(look).map(core), seconds);
        self.drops.take(look.drops.iter().map(|drop| (drop.reason.clone(), [drop.packets])), seconds);
        let port = |p: &PortRow| {
            let counters = &p.counters;
            let all =
                [counters.rx_packets, counters.rx_bytes, counters.tx_packets, counters.tx_bytes, lost(p)];
            (p.name.clone(), all)
        };
        self.ports.take(look.ports.iter().map(port), seconds);
    }

    /// Does what a key asks for.
    pub fn key(&mut self, key: KeyEvent) -> Flow {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Flow::Quit;
        }
        if self.typing {
            self.type_filter(key.code);
            return Flow::Go;
        }
        match key.code {
            KeyCode::Char('q') => return Flow::Quit,
            KeyCode::Esc if self.open.is_some() => self.open = None,
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Char(digit @ '1'..='4') => self.go(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Tab => {
                let here = View::ALL.iter().position(|view| *view == self.view).unwrap_or_default();
                self.go(View::ALL[(here + 1) % View::ALL.len()]);
            }
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.reversed = false;
            }
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('/') if self.open.is_none() => self.typing = true,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Enter if self.view == View::Tunnels && self.open.is_none() => {
                let selected = self.tunnel_rows().get(self.selected).map(|tunnel| name(tunnel));
                self.open = selected;
            }
            code => self.walk(code),
        }
        Flow::Go
    }

    fn go(&mut self, view: View) {
        self.view = view;
        self.open = None;
        self.selected = 0;
    }

    fn walk(&mut self, code: KeyCode) {
        const PAGE: usize = 10;
        let last = self.rows().saturating_sub(1);
        self.selected = match code {
            KeyCode::Down | KeyCode::Char('j') => self.selected + 1,
            KeyCode::Up | KeyCode::Char('k') => self.selected.saturating_sub(1),
            KeyCode::PageDown => self.selected + PAGE,
            KeyCode::PageUp => self.selected.saturating_sub(PAGE),
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => self.selected,
        }
        .min(last);
    }

    fn type_filter(&mut self, code: KeyCode) {
        const LONGEST: usize = 64;
        let mut filter = std::mem::take(&mut self.filter);
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                filter.clear();
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(letter) if filter.chars().count() < LONGEST => filter.push(letter),
            _ => {}
        }
        self.set_filter(filter);
    }

    fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.keep_selected();
    }

    fn keep_selected(&mut self) {
        self.selected = self.selected.min(self.rows().saturating_sub(1));
    }

    fn rows(&self) -> usize {
        match self.view {
            View::Tunnels => self.tunnel_rows().len(),
            View::Cores => self.core_rows().len(),
            View::Drops => self.drop_rows().len(),
            View::Ports => self.look.ports.len(),
        }
    }

    fn matches(&self, words: &[&str]) -> bool {
        let wanted = self.filter.to_lowercase();
        wanted.is_empty() || words.join("/").to_lowercase().contains(&wanted)
    }

    /// The tunnel that is open, as it is now; `None` when it was removed.
    pub fn open_row(&self) -> Option<&TunnelRow> {
        let (tenant, tunnel) = self.open.as_ref()?;
        self.look.tunnels.iter().find(|row| row.tenant == *tenant && row.name == *tunnel)
    }

    /// Tunnels that match the filter, by name or state, in their order.
    pub fn tunnel_rows(&self) -> Vec<&TunnelRow> {
        let matching =
            self.look.tunnels.iter().filter(|t| self.matches(&[&t.tenant, &t.name, state(t.state)]));
        let mut rows: Vec<_> = matching.collect();
        let rate = |t: &TunnelRow, which| self.tunnels.now(&name(t), which);
        let by =
            |which: usize| move |a: &&TunnelRow, b: &&TunnelRow| rate(b, which).total_cmp(&rate(a, which));
        // The API's order is by name, and what is equal stays in it.
        match self.sort {
            Sort::Name => {}
            Sort::State => rows.sort_by_key(|t| t.state == TunnelState::Up),
            Sort::Encap => rows.sort_by(by(of_tunnel::ENCAP_BYTES)),
            Sort::Decap => rows.sort_by(by(of_tunnel::DECAP_BYTES)),
            Sort::Drops => rows.sort_by(by(of_tunnel::DROPS)),
        }
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// Whether a column rises or falls from the top down; `None`: it is not the one that is sorted by.
    pub fn order(&self, column: Sort) -> Option<Order> {
        let falls = column.falls() != self.reversed;
        (self.sort == column).then_some(if falls { Order::Falling } else { Order::Rising })
    }

    /// Workers.
    pub fn core_rows(&self) -> Vec<&CoreRow> {
        workers(&self.look).collect()
    }

    /// Reasons that happened and match the filter, what happens now first.
    pub fn drop_rows(&self) -> Vec<&DropRow> {
        let happened = self.look.drops.iter().filter(|drop| drop.packets > 0);
        let mut rows: Vec<_> = happened.filter(|drop| self.matches(&[&drop.reason])).collect();
        let rate = |drop: &DropRow| self.drops.now(&drop.reason, 0);
        rows.sort_by(|a, b| rate(b).total_cmp(&rate(a)).then(b.packets.cmp(&a.packets)));
        rows
    }
}

fn workers(look: &Look) -> impl Iterator<Item = &CoreRow> {
    look.cores.iter().filter(|core| core.role == CoreRole::Worker)
}
