//! Plots as SVG: lines with marks over two axes, rules with a label, and a legend.
//!
//! Not a charting library: what the report needs and no more. Colours and type come from the page's
//! style sheet by class, so that a plot is right in light and dark and in print.
//! In: values in the unit the axis names. Out: one `<svg>`, and a legend beside it in HTML, which stays
//! readable at any width. Values that have no place on an axis are left out, never drawn as NaN.

use std::fmt::Write;

use super::markup::escape;
use super::scale::{Kind, Scale};

/// Size of the drawing, in its own units; the page scales it.
const WIDTH: f64 = 390.0;
const HEIGHT: f64 = 276.0;

/// Where the plotting area ends.
const LEFT: f64 = 50.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = HEIGHT - 44.0;

/// Half the size of a mark.
const MARK: f64 = 3.6;

/// How many series can be told apart: each has a colour and a shape.
pub const SERIES_MAX: usize = 6;

/// What an axis shows.
pub struct Axis {
    /// With its unit.
    pub label: &'static str,
    pub kind: Kind,
}

/// One value, and what is said of it when it is pointed at.
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub told: String,
    /// Drawn as a cross: measured, but not within the limits.
    pub failed: bool,
    /// The line goes through it; one that was measured again stands beside the line.
    pub joined: bool,
}

/// Points joined in the order given.
pub struct Series {
    pub name: String,
    /// Colour and shape, below [`SERIES_MAX`]; runs of the same thing share one.
    pub look: usize,
    pub dashed: bool,
    pub points: Vec<Point>,
}

/// A line that marks a value of one axis.
pub enum Rule {
    Across(f64, String),
    Down(f64, String),
}

/// All of it.
pub struct Plot {
    /// For who cannot see it.
    pub told: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    pub rules: Vec<Rule>,
}

impl Plot {
    pub fn svg(&self) -> String {
        let (x, y) = self.scales();
        let told = escape(&self.told);
        let mut svg =
            format!("<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{told}\">");
        self.axes(&mut svg, &x, &y);
        for series in &self.series {
            series.draw(&mut svg, &x, &y);
        }
        for rule in &self.rules {
            rule.draw(&mut svg, &x, &y);
        }
        if self.series.iter().all(|series| series.placed(&x, &y).next().is_none()) {
            let (x, y) = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
            // Writing to a String does not fail, here and below.
            let _ = write!(svg, "<text class=\"mid\" x=\"{x:.1}\" y=\"{y:.1}\">nothing measured</text>");
        }
        svg.push_str("</svg>");
        svg
    }

    /// What the colours and shapes mean, each once, in the order of their first use.
    pub fn legend(&self) -> String {
        let mut html = String::from("<ul class=\"legend\">");
        for (at, series) in self.series.iter().enumerate() {
            if self.series[..at].iter().any(|before| before.look == series.look && before.name == series.name) {
                continue;
            }
            let look = series.look % SERIES_MAX;
            let dashed = if series.dashed { " dash" } else { "" };
            let mark = mark(look, 13.0, 6.0);
            let name = escape(&series.name);
            let _ = write!(
                html,
                "<li><svg class=\"key c{look}\" viewBox=\"0 0 26 12\"><path class=\"line{dashed}\" \
                 d=\"M0 6H26\"/>{mark}</svg>{name}</li>"
            );
        }
        if self.series.iter().flat_map(|series| &series.points).any(|point| point.failed) {
            let cross = cross(6.0, 6.0);
            let _ = write!(
                html,
                "<li><svg class=\"key small ink\" viewBox=\"0 0 12 12\">{cross}</svg>did not hold the limits</li>"
            );
        }
        html.push_str("</ul>");
        html
    }

    fn scales(&self) -> (Scale, Scale) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let across = self.rules.iter().filter_map(|rule| match rule {
            Rule::Across(value, _) => Some(*value),
            Rule::Down(..) => None,
        });
        let x = Scale::fit(self.x.kind, points().map(|point| point.x));
        let y = Scale::fit(self.y.kind, points().map(|point| point.y).chain(across));
        (x, y)
    }

    fn axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        for (share, label) in y.ticks() {
            let at = down(share);
            let _ = write!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
            let _ = write!(svg, "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>", LEFT - 7.0, at + 4.0);
        }
        for (share, label) in x.ticks() {
            let at = across(share);
            let _ = write!(svg, "<path class=\"axis\" d=\"M{at:.1} {BOTTOM}v4\"/>");
            let _ = write!(svg, "<text class=\"mid\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>", BOTTOM + 18.0);
        }
        let _ = write!(svg, "<path class=\"axis\" d=\"M{LEFT} {BOTTOM}H{RIGHT}\"/>");
        let _ = write!(svg, "<text class=\"title\" x=\"0\" y=\"13\">{}</text>", escape(self.y.label));
        let _ = write!(
            svg,
            "<text class=\"title end\" x=\"{RIGHT}\" y=\"{:.1}\">{}</text>",
            HEIGHT - 6.0,
            escape(self.x.label)
        );
    }
}

impl Series {
    /// Points that have a place, in the drawing's units.
    fn placed<'a>(&'a self, x: &'a Scale, y: &'a Scale) -> impl Iterator<Item = (f64, f64, &'a Point)> {
        self.points.iter().filter_map(|point| Some((across(x.position(point.x)?), down(y.position(point.y)?), point)))
    }

    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let look = self.look % SERIES_MAX;
        let joined = self.placed(x, y).filter(|(.., point)| point.joined);
        let path: Vec<String> = joined.map(|(x, y, _)| format!("{x:.1} {y:.1}")).collect();
        let _ = write!(svg, "<g class=\"c{look}\">");
        if path.len() > 1 {
            let dashed = if self.dashed { " dash" } else { "" };
            let _ = write!(svg, "<path class=\"line{dashed}\" d=\"M{}\"/>", path.join("L"));
        }
        for (x, y, point) in self.placed(x, y) {
            let shape = if point.failed { cross(x, y) } else { mark(look, x, y) };
            let _ = write!(svg, "<g>{shape}<title>{}</title></g>", escape(&point.told));
        }
        svg.push_str("</g>");
    }
}

impl Rule {
    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (path, class, x, y, label) = match self {
            Self::Across(value, label) => {
                let Some(at) = y.position(*value).map(down) else { return };
                let below = if at < TOP + 18.0 { 15.0 } else { -6.0 };
                (format!("M{LEFT} {at:.1}H{RIGHT}"), "", LEFT + 6.0, at + below, label)
            }
            Self::Down(value, label) => {
                let Some(at) = x.position(*value).map(across) else { return };
                // Above the plotting area, where no line can be.
                let right = at > f64::midpoint(LEFT, RIGHT);
                let (class, shift) = if right { (" end", 4.0) } else { ("", -4.0) };
                (format!("M{at:.1} {:.1}V{BOTTOM}", TOP - 4.0), class, at + shift, TOP - 8.0, label)
            }
        };
        let label = escape(label);
        let _ = write!(svg, "<path class=\"rule\" d=\"{path}\"/>");
        let _ = write!(svg, "<text class=\"note{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>");
    }
}

fn across(share: f64) -> f64 {
    LEFT + share * (RIGHT - LEFT)
}

fn down(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

/// A shape of its own for each look, so that colour is never the only difference.
fn mark(look: usize, x: f64, y: f64) -> String {
    let m = MARK;
    match look % SERIES_MAX {
        0 => format!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{m}\"/>"),
        1 => path(x, y, &[(-m, -m), (m, -m), (m, m), (-m, m)]),
        2 => path(x, y, &[(0.0, -m * 1.3), (m * 1.2, m), (-m * 1.2, m)]),
        3 => path(x, y, &[(0.0, -m * 1.4), (m * 1.4, 0.0), (0.0, m * 1.4), (-m * 1.4, 0.0)]),
        4 => path(x, y, &[(-m * 1.2, -m), (m * 1.2, -m), (0.0, m * 1.3)]),
        _ => path(x, y, &[(-m * 1.4, -1.3), (m * 1.4, -1.3), (m * 1.4, 1.3), (-m * 1.4, 1.3)]),
    }
}

fn path(x: f64, y: f64, corners: &[(f64, f64)]) -> String {
    let corners: Vec<String> = corners.iter().map(|(dx, dy)| format!("{:.1} {:.1}", x + dx, y + dy)).collect();
    format!("<path class=\"mark\" d=\"M{}Z\"/>", corners.join("L"))
}

fn cross(x: f64, y: f64) -> String {
    let (left, right, up, low) = (x - 4.0, x + 4.0, y - 4.0, y + 4.0);
    format!(
        "<path class=\"cross\" d=\"M{left:.1} {up:.1}L{right:.1} {low:.1}M{left:.1} {low:.1}L{right:.1} {up:.1}\"/>"
    )
}
