//! How things look: colours, or without them (NO_COLOR) bold and reversed; signs in Unicode, or in ASCII where the
//! terminal's locale has no UTF-8.

use ratatui::style::{Color, Modifier, Style};

/// Colours for names, by their letters: readable on dark and on light.
const NAMES: [Color; 6] = [Color::Cyan, Color::Green, Color::Yellow, Color::Magenta, Color::Blue, Color::LightRed];

/// Signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    pub talking: &'static str,
    pub muted: &'static str,
    pub deafened: &'static str,
    pub ignored: &'static str,
    pub bar: &'static str,
    pub no_bar: &'static str,
    /// Where a threshold is on a bar.
    pub threshold: &'static str,
    pub divider: &'static str,
    pub line: &'static str,
}

/// Of terminals with UTF-8.
pub const UNICODE: Signs = Signs {
    talking: "●",
    muted: "✕",
    deafened: "∅",
    ignored: "−",
    bar: "▮",
    no_bar: "▯",
    threshold: "┃",
    divider: "│",
    line: "─",
};

/// Of others.
pub const ASCII: Signs = Signs {
    talking: "*",
    muted: "x",
    deafened: "d",
    ignored: "-",
    bar: "#",
    no_bar: ".",
    threshold: "|",
    divider: "|",
    line: "-",
};

/// The look.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    has_colours: bool,
    pub signs: Signs,
}

impl Theme {
    pub fn new(has_colours: bool, has_unicode: bool) -> Self {
        Self { has_colours, signs: if has_unicode { UNICODE } else { ASCII } }
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub fn plain(self) -> Style {
        Style::new()
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Of less weight: times, hints.
    pub fn quiet(self) -> Style {
        if self.has_colours { self.colour(Color::DarkGray) } else { Style::new().add_modifier(Modifier::DIM) }
    }

    /// The title, and what is chosen.
    pub fn reversed(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub fn notice(self) -> Style {
        self.quiet()
    }

    pub fn problem(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub fn mention(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub fn talking(self) -> Style {
        self.colour(Color::Green).add_modifier(Modifier::BOLD)
    }

    /// Nothing is sent: unmistakable.
    pub fn closed(self) -> Style {
        if self.has_colours {
            Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
        }
    }

    /// Something is sent now.
    pub fn open(self) -> Style {
        if self.has_colours {
            Style::new().fg(Color::Black).bg(Color::Green).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
        }
    }

    /// Somebody's name: the same each time.
    pub fn name(self, name: &str) -> Style {
        let sum: usize = name.bytes().map(usize::from).sum();
        self.colour(NAMES[sum % NAMES.len()]).add_modifier(Modifier::BOLD)
    }
}
