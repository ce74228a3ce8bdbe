//! The line editor at a terminal: prompt, keys, completion menu, history, and when a line is whole.

use std::borrow::Cow;
use std::path::Path;

use nu_ansi_term::{Color, Style};
use reedline::{
    Completer, CompletionResult, DefaultHinter, EditCommand, Emacs, FileBackedHistory, History, IdeMenu,
    KeyCode, KeyModifiers, MenuBuilder, Prompt, PromptEditMode, PromptHistorySearch,
    PromptHistorySearchStatus, Reedline, ReedlineEvent, ReedlineMenu, Signal, Span, Suggestion,
    ValidationResult, Validator, default_emacs_keybindings,
};

use super::catalog::Catalog;
use super::completion;
use super::highlight::Colours;
use super::history;
use super::statement::{Completeness, completeness};
use super::words;

const MENU: &str = "names";

/// What a person did at the prompt.
pub enum Typed {
    Line(String),
    /// Ctrl-C: what was typed is dropped.
    Dropped,
    /// Ctrl-D.
    End,
}

pub struct Editor {
    line: Reedline,
}

impl Editor {
    pub fn new(catalog: Catalog, history_file: Option<&Path>) -> Self {
        let menu = IdeMenu::default()
            .with_name(MENU)
            .with_max_completion_height(12)
            .with_marker("")
            .with_text_style(Style::new().fg(Color::Default))
            .with_selected_text_style(Style::new().reverse());
        let mut keys = default_emacs_keybindings();
        let next =
            ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext]);
        keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, next);
        keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
        let new_line = ReedlineEvent::Edit(vec![EditCommand::InsertNewline]);
        keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, new_line.clone());
        keys.add_binding(KeyModifiers::SHIFT, KeyCode::Enter, new_line);
        let line = Reedline::create()
            .with_history(history::open(history_file))
            .with_completer(Box::new(Names(catalog)))
            .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
            .with_quick_completions(true)
            .with_partial_completions(true)
            .with_highlighter(Box::new(Colours))
            .with_hinter(Box::new(DefaultHinter::default().with_style(Style::new().fg(Color::DarkGray))))
            .with_validator(Box::new(Wholeness))
            .with_edit_mode(Box::new(Emacs::new(keys)))
            .with_ansi_colors(std::env::var_os("NO_COLOR").is_none())
            .use_bracketed_paste(true);
        Self { line }
    }

    pub fn read(&mut self, prompt: &str) -> std::io::Result<Typed> {
        match self.line.read_line(&Marks { left: prompt.to_owned() })? {
            Signal::Success(line) => Ok(Typed::Line(line)),
            Signal::CtrlC => Ok(Typed::Dropped),
            Signal::CtrlD => Ok(Typed::End),
            _ => Ok(Typed::Dropped),
        }
    }

    pub fn history(&self) -> Vec<String> {
        history::lines(self.line.history())
    }
}

/// One question on one line, remembered nowhere.
pub fn ask(question: &str) -> std::io::Result<Option<String>> {
    let forgetful: Box<dyn History> = Box::new(FileBackedHistory::default());
    let mut line = Reedline::create().with_history(forgetful);
    match line.read_line(&Marks { left: question.to_owned() })? {
        Signal::Success(line) => Ok(Some(line)),
        _ => Ok(None),
    }
}

/// A line that is not shown while it is typed; `None` if the person changes their mind.
pub fn ask_secret(question: &str) -> std::io::Result<Option<String>> {
    use crossterm::event::{Event, KeyEventKind, read};
    use std::io::Write;
    let mut stderr = std::io::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    crossterm::terminal::enable_raw_mode()?;
    let mut text = String::new();
    let typed = loop {
        match read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => match (key.code, key.modifiers) {
                (KeyCode::Enter, _) => break Ok(Some(text)),
                (KeyCode::Char('c' | 'd'), KeyModifiers::CONTROL) => break Ok(None),
                (KeyCode::Char('u'), KeyModifiers::CONTROL) => text.clear(),
                (KeyCode::Backspace, _) => {
                    text.pop();
                }
                (KeyCode::Char(char), _) => text.push(char),
                _ => {}
            },
            Ok(Event::Paste(pasted)) => text.push_str(&pasted),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    crossterm::terminal::disable_raw_mode()?;
    writeln!(stderr)?;
    typed
}

/// The prompt's pieces.
struct Marks {
    left: String,
}

impl Prompt for Marks {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.left)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("... ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failed = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "nothing ",
        };
        Cow::Owned(format!("({failed}found for '{}') ", search.term))
    }

    fn get_prompt_color(&self) -> reedline::Color {
        reedline::Color::Green
    }
}

/// Enter runs what is whole, and an empty line runs whatever there is.
struct Wholeness;

impl Validator for Wholeness {
    fn validate(&self, line: &str) -> ValidationResult {
        if words::is_word(line) || line.ends_with('\n') {
            return ValidationResult::Complete;
        }
        match completeness(line) {
            Completeness::Unfinished => ValidationResult::Incomplete,
            Completeness::Empty | Completeness::Whole | Completeness::Wrong => ValidationResult::Complete,
        }
    }
}

struct Names(Catalog);

impl Completer for Names {
    fn complete(&mut self, line: &str, cursor: usize) -> CompletionResult {
        let completion = completion::complete(line, cursor, &self.0);
        let span = Span::new(completion.range.start, completion.range.end);
        let suggestions: Vec<Suggestion> = completion
            .candidates
            .into_iter()
            .map(|candidate| Suggestion {
                // After a name a bracket, a comma or a dot may follow as well as a blank.
                append_whitespace: candidate.kind == "keyword",
                value: candidate.text,
                description: (!candidate.kind.is_empty()).then_some(candidate.kind),
                span,
                ..Suggestion::default()
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_runs_what_is_whole() {
        let is_complete = |line: &str| matches!(Wholeness.validate(line), ValidationResult::Complete);
        for line in
            ["SHOW DATABASES", "use d", "\\l", "SELECT v FROM m;", "SELEC", "", "insert m v=1", "SELECT v\n"]
        {
            assert!(is_complete(line), "{line:?}");
        }
        for line in ["SELECT v", "SELECT mean(v)\nFROM m WHERE"] {
            assert!(!is_complete(line), "{line:?}");
        }
    }
}
