//! Screens of a gateway that is made up, as text and as the picture of the documents; and what keys do.
//!
//! Run with `PENSTOCK_WRITE_SCREENS=1` to write what is drawn now, and look at the difference.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod made_up;
mod picture;

use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::draw::draw;
use super::look::Look;
use super::model::{Flow, Model, View};

/// A model that has looked so often.
fn after(looks: u32) -> Model {
    let start = Instant::now();
    let look =
        |number: u32| Look { at: start + Duration::from_secs(number.into()), ..made_up::look(start, number) };
    let mut model = Model::new(look(0));
    (1..=looks).for_each(|number| model.take(Ok(look(number))));
    model
}

fn press(model: &mut Model, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(model.key(KeyEvent::new(*key, KeyModifiers::NONE)), Flow::Go, "{key}");
    }
}

fn word(word: &str) -> Vec<KeyCode> {
    word.chars().map(KeyCode::Char).collect()
}

fn drawn(model: &Model, columns: u16, lines: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let rows = buffer.content().chunks(usize::from(buffer.area.width));
    rows.map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", row.trim_end())
    })
    .collect()
}

/// Compares with a file, or writes it.
fn same(path: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("PENSTOCK_WRITE_SCREENS").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(then == now, "{} is not what is drawn now:\n{now}", path.display());
}

fn screen(name: &str, model: &Model) {
    same(&format!("src/top/screens/{name}.txt"), &text(&drawn(model, 80, 24)));
}

#[test]
fn every_page_fits_eighty_columns() {
    let mut model = after(90);
    screen("tunnels", &model);
    for (key, view) in [('2', View::Cores), ('3', View::Drops), ('4', View::Ports)] {
        press(&mut model, &[KeyCode::Char(key)]);
        assert_eq!(model.view, view);
        screen(view.name(), &model);
    }
}

#[test]
fn an_open_tunnel() {
    let mut model = after(90);
    press(&mut model, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!(model.opened(), Some(("acme".to_owned(), "berlin".to_owned())));
    screen("tunnel", &model);
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!(model.opened(), None);
}

#[test]
fn the_picture_of_the_documents() {
    same("docs/pictures/top.svg", &picture::svg(&drawn(&after(90), 80, 24)));
}

#[test]
fn before_the_second_look_there_are_no_rates() {
    let screen = text(&drawn(&after(0), 80, 24));
    assert!(screen.contains("RX 0 pps 0bit/s"), "{screen}");
}

fn names(model: &Model) -> Vec<&str> {
    model.tunnel_rows().into_iter().map(|tunnel| tunnel.name.as_str()).collect()
}

#[test]
fn keys_sort() {
    let mut model = after(3);
    assert_eq!(names(&model)[..3], ["amsterdam", "berlin", "paris"]);
    press(&mut model, &[KeyCode::Char('s')]);
    assert_eq!(names(&model)[..2], ["paris", "oslo"], "what is not up comes first");
    press(&mut model, &[KeyCode::Char('s')]);
    assert_eq!(names(&model)[0], "berlin", "the one with most bytes going in");
    press(&mut model, &[KeyCode::Char('r')]);
    assert_eq!(names(&model).last(), Some(&"berlin"));
    press(&mut model, &[KeyCode::Char('s'), KeyCode::Char('s')]);
    assert_eq!(names(&model)[0], "madrid", "the one that drops");
    press(&mut model, &[KeyCode::Char('s')]);
    assert_eq!(names(&model)[0], "amsterdam");
}

#[test]
fn keys_filter() {
    let mut model = after(3);
    press(&mut model, &[KeyCode::End]);
    press(&mut model, &word("/GLOBEX"));
    assert!(model.typing && text(&drawn(&model, 80, 24)).contains("filter: GLOBEX_"));
    assert_eq!(names(&model), ["madrid", "oslo"]);
    assert_eq!(model.selected, 1, "what is selected is there");
    // Letters that are keys elsewhere are letters here.
    press(&mut model, &word("q"));
    assert_eq!((names(&model).len(), model.selected), (0, 0));
    press(&mut model, &[KeyCode::Enter, KeyCode::Enter]);
    assert_eq!(model.opened(), None, "there is nothing to open");
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!(names(&model).len(), 5);
    press(&mut model, &word("/down"));
    press(&mut model, &[KeyCode::Enter]);
    assert_eq!(names(&model), ["paris"]);
}

#[test]
fn the_screen_says_that_it_is_old() {
    let mut model = after(2);
    model.take(Err("the gateway is not running: nothing listens\n  fix: start it".to_owned()));
    let screen = text(&drawn(&model, 80, 24));
    assert!(
        screen.contains("no answer, this is old: the gateway is not running: nothing listens"),
        "{screen}"
    );
    model.take(Ok(made_up::look(Instant::now(), 3)));
    assert!(!text(&drawn(&model, 80, 24)).contains("this is old"));
    press(&mut model, &word("p"));
    let before = text(&drawn(&model, 80, 24));
    assert!(before.contains("PAUSED"));
    model.take(Ok(made_up::look(Instant::now(), 50)));
    assert_eq!(text(&drawn(&model, 80, 24)), before);
}

#[test]
fn a_tunnel_that_is_removed_while_it_is_open() {
    let mut model = after(2);
    press(&mut model, &[KeyCode::Enter]);
    let mut look = made_up::look(Instant::now(), 3);
    look.tunnels.clear();
    model.take(Ok(look));
    assert!(text(&drawn(&model, 80, 24)).contains("this tunnel was removed"));
}

#[test]
fn any_size_and_any_keys_draw() {
    let mut model = after(2);
    let keys = [
        KeyCode::Tab,
        KeyCode::Down,
        KeyCode::Enter,
        KeyCode::PageDown,
        KeyCode::Char('/'),
        KeyCode::Char('x'),
        KeyCode::Backspace,
        KeyCode::Esc,
        KeyCode::Up,
        KeyCode::End,
        KeyCode::Home,
        KeyCode::Char('9'),
        KeyCode::Char('s'),
        KeyCode::Char('r'),
    ];
    for (number, key) in keys.iter().cycle().take(keys.len() * 9).enumerate() {
        press(&mut model, &[*key]);
        for (columns, lines) in [(1, 1), (20, 5), (79, 24), (200, 60), (number as u16 + 1, 10)] {
            drawn(&model, columns, lines);
        }
    }
    assert_eq!(model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Flow::Quit);
}
