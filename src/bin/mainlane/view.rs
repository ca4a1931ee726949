//! The live view: panes, worktrees, projects, lanes, workers.

use std::collections::BTreeMap;
use std::io::{self, Stderr};
use std::time::{Duration, Instant};

use mainlane::control::{WorkerState, WorkerStatus};
use mainlane::register::Divergence;
use mainlane::workspace::{
    DivergenceCause, Layout as PaneLayout, LayoutEvent, Pane, PaneId, PaneState, Warmth, Workspace,
};
use mainlane::{Counters, Snapshot};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};

use crate::projects::Projects;
use crate::session::Session;
use crate::workers::{WorkerSummary, level_in_words};

/// Over how long a rate is averaged.
const RATE_OVER: Duration = Duration::from_secs(1);
/// Problems kept on screen.
const PROBLEMS_MAX: usize = 3;
/// Projects on screen.
const PROJECTS_MAX: usize = 8;

pub(crate) struct View {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    rates: Rates,
    problems: Vec<String>,
}

/// What a key asks for.
pub(crate) enum Key {
    Quit,
    Layout(fn(&PaneLayout, &[PaneId]) -> LayoutEvent),
}

impl View {
    /// Takes the terminal over.
    pub(crate) fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(io::stderr(), EnterAlternateScreen)?;
        // A panic must not leave the terminal as it is now. Those of other threads are contained, and reported where it is drawn.
        let (before, here) = (std::panic::take_hook(), std::thread::current().id());
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() != here {
                return;
            }
            restore();
            before(panic);
        }));
        let terminal = Terminal::new(CrosstermBackend::new(io::stderr()))?;
        Ok(Self { terminal, rates: Rates::default(), problems: Vec::new() })
    }

    /// The next key that was pressed, if it means anything. Never waits.
    pub(crate) fn key() -> Option<Key> {
        while event::poll(Duration::ZERO).unwrap_or(false) {
            let Ok(Event::Key(key)) = event::read() else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Some(Key::Quit),
                KeyCode::Char('q') | KeyCode::Esc => return Some(Key::Quit),
                KeyCode::Tab | KeyCode::Down => return Some(Key::Layout(focus_next)),
                KeyCode::BackTab | KeyCode::Up => return Some(Key::Layout(focus_previous)),
                KeyCode::Char('z') => return Some(Key::Layout(zoom)),
                _ => {}
            }
        }
        None
    }

    pub(crate) fn draw(
        &mut self,
        session: &mut Session,
        snapshot: &Snapshot<Workspace>,
        counters: &Counters,
    ) -> io::Result<()> {
        self.problems.extend(session.problems());
        let extra = self.problems.len().saturating_sub(PROBLEMS_MAX);
        self.problems.drain(..extra);
        self.rates.update(snapshot);
        let Self { terminal, rates, problems } = self;
        terminal.draw(|frame| draw(frame, session, snapshot, counters, rates, problems))?;
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stderr(), LeaveAlternateScreen);
}

fn focus_next(layout: &PaneLayout, panes: &[PaneId]) -> LayoutEvent {
    focus_by(layout, panes, 1)
}

fn focus_previous(layout: &PaneLayout, panes: &[PaneId]) -> LayoutEvent {
    focus_by(layout, panes, panes.len().saturating_sub(1))
}

fn focus_by(layout: &PaneLayout, panes: &[PaneId], steps: usize) -> LayoutEvent {
    let at = layout.focused.and_then(|focused| panes.iter().position(|pane| *pane == focused)).unwrap_or(0);
    LayoutEvent::Focused { pane: panes.get((at + steps) % panes.len().max(1)).copied() }
}

fn zoom(layout: &PaneLayout, _: &[PaneId]) -> LayoutEvent {
    LayoutEvent::Zoomed { pane: if layout.zoomed.is_some() { None } else { layout.focused } }
}

fn draw(
    frame: &mut Frame<'_>,
    session: &Session,
    state: &Snapshot<Workspace>,
    counters: &Counters,
    rates: &Rates,
    problems: &[String],
) {
    let worktrees = session.watched.len() as u16;
    let workers = session.workers.panel.workers();
    let projects = session.projects.as_ref().map_or(0, |projects| projects.all().len().min(PROJECTS_MAX)) as u16;
    let [head, panes, folders, beside, lanes, background, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(4),
        Constraint::Length(if worktrees == 0 { 0 } else { worktrees + 3 }),
        Constraint::Length(if projects == 0 { 0 } else { projects + 3 }),
        Constraint::Length(counters.lanes.len().min(8) as u16 + 3),
        Constraint::Length(workers.len() as u16 + 3),
        Constraint::Length(1 + problems.len() as u16),
    ])
    .areas(frame.area());
    frame.render_widget(headline(session, state), head);
    match state.layout.zoomed.and_then(|zoomed| Some((zoomed, state.model.panes.get(&zoomed)?))) {
        Some((id, pane)) => frame.render_widget(zoomed_pane(id, pane, rates, panes.height), panes),
        None => frame.render_widget(pane_table(state, rates), panes),
    }
    if worktrees > 0 {
        frame.render_widget(worktree_table(session, state), folders);
    }
    if let Some(projects) = &session.projects {
        frame.render_widget(project_table(projects), beside);
    }
    frame.render_widget(lane_table(counters), lanes);
    frame.render_widget(worker_table(session, &workers), background);
    frame.render_widget(footer(session, state, counters, problems), foot);
}

fn headline(session: &Session, state: &Workspace) -> Line<'static> {
    let machine = state.model.machine;
    Line::from(vec![
        " mainlane ".black().on_cyan().bold(),
        format!(
            "  {}  this process {}, machine {} of {}, load {:.2}",
            clock(session.began.elapsed()),
            bytes(machine.process_rss),
            bytes(machine.memory_used),
            bytes(machine.memory_total),
            machine.load[0],
        )
        .dim(),
    ])
}

fn pane_table<'a>(state: &'a Workspace, rates: &Rates) -> Table<'a> {
    let on_screen = state.model.panes.iter().filter(|(id, _)| state.layout.visible.contains(*id));
    let rows = on_screen.map(|(id, pane)| {
        let focused = state.layout.focused == Some(*id);
        let name = if pane.title.is_empty() { &pane.command } else { &pane.title };
        Row::new(vec![
            Cell::from(if focused { format!("▶{}", id.0) } else { format!(" {}", id.0) }),
            Cell::from(status(pane)),
            Cell::from(format!("{:>10}/s", bytes(rates.of(*id)))),
            Cell::from(format!("{:>10}", bytes(pane.bytes))),
            Cell::from(format!("{:>9}", pane.lines)),
            Cell::from(name.to_string()),
            Cell::from(pane.last_line.to_string()).dim(),
        ])
        .style(if focused { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() })
    });
    let widths = [
        Constraint::Length(3),
        Constraint::Length(12),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Percentage(30),
        Constraint::Fill(1),
    ];
    Table::new(rows, widths)
        .header(Row::new(["", "state", "        rate", "     bytes", "    lines", "command", "last line"]).dim())
        .block(Block::bordered().title(" panes "))
}

fn zoomed_pane<'a>(id: PaneId, pane: &'a Pane, rates: &Rates, height: u16) -> Paragraph<'a> {
    let folder = pane.working_directory().map(|folder| folder.display().to_string()).unwrap_or_default();
    let mut text = vec![
        Line::from(vec!["command    ".dim(), pane.command.to_string().into()]),
        Line::from(vec!["title      ".dim(), pane.title.to_string().into()]),
        Line::from(vec!["state      ".dim(), status(pane)]),
        Line::from(vec!["folder     ".dim(), folder.into()]),
        Line::from(vec![
            "output     ".dim(),
            format!("{} bytes, {} lines, {}/s", pane.bytes, pane.lines, bytes(rates.of(id))).into(),
        ]),
        Line::from(vec!["bells      ".dim(), pane.bells.to_string().into()]),
        Line::from(vec!["kept       ".dim(), kept(pane).into()]),
        Line::default(),
    ];
    // Its newest lines, in what is left of the frame and its border.
    let room = usize::from(height).saturating_sub(text.len() + 2);
    let newest: Vec<_> = pane.scrollback.lines().rev().take(room).collect();
    text.extend(newest.into_iter().rev().map(Line::from));
    Paragraph::new(text).block(Block::bordered().title(format!(" pane {} ", id.0)))
}

/// How much of its output is there still.
fn kept(pane: &Pane) -> String {
    let warmth = match pane.warmth {
        Warmth::Hot => "hot",
        Warmth::Warm => "warm, memory was short",
        Warmth::Cold => "cold, memory was short",
    };
    format!("{} lines; {warmth}", pane.scrollback.count())
}

fn status(pane: &Pane) -> Span<'static> {
    match &pane.state {
        PaneState::Running => "running".green(),
        PaneState::Exited(exit) if exit.success() => "done".dim(),
        PaneState::Exited(exit) => exit.to_string().red(),
        PaneState::Lost => "lost".red(),
    }
}

fn worktree_table(session: &Session, state: &Workspace) -> Table<'static> {
    let watched = session.watched.iter().filter_map(|id| state.model.worktrees.get(id));
    let rows = watched.map(|worktree| {
        let mirror = match worktree.mirror.divergence() {
            Divergence::InSync => "in sync".green(),
            Divergence::Diverged { what: DivergenceCause::Unwatched, .. } => "not watched".dim(),
            Divergence::Diverged { what, .. } => format!("diverged: {what}").red(),
            Divergence::Reconciling { what, .. } => format!("reconciling: {what}").yellow(),
        };
        let counts = worktree.counts;
        let path = worktree.path.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        Row::new(vec![
            Cell::from(path),
            Cell::from(worktree.entries.to_string()),
            Cell::from(counts.created.to_string()),
            Cell::from(counts.modified.to_string()),
            Cell::from(counts.removed.to_string()),
            Cell::from(counts.renamed.to_string()),
            Cell::from(mirror),
        ])
    });
    let number = Constraint::Length(9);
    let widths = [Constraint::Fill(2), number, number, number, number, number, Constraint::Fill(1)];
    Table::new(rows, widths)
        .header(Row::new(["folder", "entries", "created", "modified", "removed", "renamed", "mirror"]).dim())
        .block(Block::bordered().title(" worktrees "))
}

fn project_table(projects: &Projects) -> Table<'static> {
    let rows = projects.all().iter().zip(projects.driven()).map(|(beside, driven)| {
        let phase = match beside.phase_in_a_word(driven.as_ref()) {
            phase @ "open" => phase.green(),
            phase @ ("failed" | "stuck") => phase.red(),
            phase => phase.yellow(),
        };
        let (turns, events) = driven.map_or((0, 0), |driven| (driven.turns, driven.events));
        let failure = beside.last_failure.as_deref().unwrap_or_default().to_owned();
        Row::new(vec![
            Cell::from(beside.asked.name.clone()),
            Cell::from(phase),
            Cell::from(beside.openings.to_string()),
            Cell::from(turns.to_string()),
            Cell::from(events.to_string()),
            Cell::from(failure).red(),
        ])
    });
    let number = Constraint::Length(9);
    let crew = projects.crew();
    let threads = match crew.threads_stuck {
        0 => format!(" projects · {} threads ", crew.threads),
        stuck => format!(" projects · {} threads, and {stuck} stuck ", crew.threads),
    };
    Table::new(rows, [Constraint::Fill(2), number, number, number, number, Constraint::Fill(4)])
        .header(Row::new(["project", "phase", "openings", "driven", "events", "last failure"]).dim())
        .block(Block::bordered().title(threads))
}

fn lane_table(counters: &Counters) -> Table<'static> {
    let rows = counters.lanes.iter().map(|lane| {
        let events = lane.events;
        let shed = Style::new().fg(if events.shed > 0 { Color::Red } else { Color::Reset });
        Row::new(vec![
            Cell::from(lane.name.to_string()),
            Cell::from(events.pushed.to_string()),
            Cell::from(events.applied.to_string()),
            Cell::from((events.replaced + events.merged).to_string()),
            Cell::from(events.depth.to_string()),
            Cell::from(events.unread.to_string()),
            Cell::from(events.shed.to_string()).style(shed),
            Cell::from(events.refused.to_string()),
        ])
    });
    let number = Constraint::Fill(1);
    let widths = [Constraint::Fill(2), number, number, number, number, number, number, number];
    Table::new(rows, widths)
        .header(Row::new(["lane", "pushed", "applied", "coalesced", "depth", "unread", "shed", "refused"]).dim())
        .block(Block::bordered().title(" lanes "))
}

fn worker_table(session: &Session, workers: &[WorkerStatus]) -> Table<'static> {
    let rows = workers.iter().map(|status| {
        let WorkerSummary { name, state, restarts, last_failure } = WorkerSummary::new(status);
        let state = match status.state {
            WorkerState::Running => state.green(),
            WorkerState::Failed | WorkerState::Stuck => state.red(),
            _ => state.yellow(),
        };
        Row::new(vec![
            Cell::from(name),
            Cell::from(state),
            Cell::from(restarts.to_string()),
            Cell::from(last_failure.unwrap_or_default()).red(),
        ])
    });
    let widths = [Constraint::Fill(2), Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(4)];
    let memory = format!(" workers · {} ", level_in_words(session.workers.memory_level()));
    Table::new(rows, widths)
        .header(Row::new(["worker", "state", "restarts", "last failure"]).dim())
        .block(Block::bordered().title(memory))
}

fn footer<'a>(
    session: &Session,
    state: &Snapshot<Workspace>,
    counters: &Counters,
    problems: &'a [String],
) -> Paragraph<'a> {
    let events = counters.events;
    let mut lines = vec![Line::from_iter([
        " ".into(),
        journal(session, state.turn()),
        format!(
            "{} pushed, {} applied, {} coalesced, {} in flight; {} turns, {} snapshots    Tab focus  z zoom  q quit",
            events.pushed,
            events.applied,
            events.replaced + events.merged,
            events.in_flight,
            counters.turns,
            counters.snapshots
        )
        .dim(),
    ])];
    lines.extend(problems.iter().map(|problem| Line::from(format!(" {problem}")).red()));
    Paragraph::new(lines)
}

/// How far the journal is, if there is one; `turn` is the newest that is shown.
fn journal(session: &Session, turn: u64) -> Span<'static> {
    let Some(journal) = session.handle.journal() else { return "".into() };
    let durable = journal.durable();
    match journal.failure() {
        Some(_) => format!("journal FAILED after turn {durable}    ").red().bold(),
        None if durable >= turn => format!("turn {durable} on disk    ").green(),
        None => format!("turn {durable} on disk, {} behind    ", turn - durable).yellow(),
    }
}

/// Bytes per second of each pane.
#[derive(Default)]
struct Rates {
    since: Option<Instant>,
    before: BTreeMap<PaneId, u64>,
    rates: BTreeMap<PaneId, u64>,
}

impl Rates {
    fn update(&mut self, state: &Workspace) {
        let now = Instant::now();
        let elapsed = self.since.map(|since| now.duration_since(since));
        if elapsed.is_some_and(|elapsed| elapsed < RATE_OVER) {
            return;
        }
        let seconds = elapsed.unwrap_or(RATE_OVER).as_secs_f64();
        for (id, pane) in &state.model.panes {
            let before = self.before.insert(*id, pane.bytes).unwrap_or(0);
            self.rates.insert(*id, ((pane.bytes - before) as f64 / seconds) as u64);
        }
        self.since = Some(now);
    }

    fn of(&self, pane: PaneId) -> u64 {
        self.rates.get(&pane).copied().unwrap_or(0)
    }
}

/// A size for people.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (count as f64, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn the_focus_goes_round() {
        let panes = [PaneId(1), PaneId(2)];
        let at = |focused| PaneLayout { focused, ..PaneLayout::default() };
        assert_eq!(focus_next(&at(Some(PaneId(2))), &panes), LayoutEvent::Focused { pane: Some(PaneId(1)) });
        assert_eq!(focus_previous(&at(Some(PaneId(1))), &panes), LayoutEvent::Focused { pane: Some(PaneId(2)) });
        assert_eq!(focus_next(&at(None), &[]), LayoutEvent::Focused { pane: None });
        assert_eq!(zoom(&at(Some(PaneId(1))), &panes), LayoutEvent::Zoomed { pane: Some(PaneId(1)) });
    }
}
