//! Plots as SVG, readable on a light and on a dark page.

use std::fmt::Write;

use crate::report::rounded;

const WIDTH: f64 = 760.0;
const LINE_HEIGHT: f64 = 24.0;
/// Room for the names on the left, and for figures on the right.
const LEFT: f64 = 300.0;
const RIGHT: f64 = 110.0;
const LINES_HEIGHT: f64 = 380.0;
const COLORS: [&str; 4] = ["#2f81f7", "#d29922", "#8b949e", "#a371f7"];

/// What is drawn, always on logarithmic scales: the sides are often far apart.
#[derive(Clone, Debug)]
pub(crate) enum Plot {
    /// One bar for each figure: its name, the figure, and whether it is ours.
    Bars { title: String, unit: &'static str, bars: Vec<(String, f64, bool)> },
    /// Curves over a common axis.
    Lines { title: String, x: &'static str, unit: &'static str, curves: Vec<(&'static str, Vec<(f64, f64)>)> },
}

/// The plot as an SVG document.
pub(crate) fn draw(plot: &Plot) -> String {
    match plot {
        Plot::Bars { title, unit, bars } => draw_bars(title, unit, bars),
        Plot::Lines { title, x, unit, curves } => draw_lines(title, x, unit, curves),
    }
}

/// A logarithmic scale over some figures, in pixels.
struct Scale {
    from: f64,
    to: f64,
    start: f64,
    length: f64,
}

impl Scale {
    fn over(figures: impl Iterator<Item = f64> + Clone, start: f64, length: f64) -> Self {
        let positive = figures.filter(|figure| *figure > 0.0);
        let from = positive.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let to = positive.fold(f64::NEG_INFINITY, f64::max).log10().ceil().max(from + 1.0);
        Self { from, to, start, length }
    }

    fn place(&self, figure: f64) -> f64 {
        let share = (figure.max(f64::MIN_POSITIVE).log10() - self.from) / (self.to - self.from);
        self.start + self.length * share.max(0.0)
    }

    /// The powers of ten that it holds.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (mut power, to) = (self.from, self.to);
        std::iter::from_fn(move || {
            let tick = (power <= to).then(|| 10_f64.powf(power));
            power += 1.0;
            tick
        })
    }
}

fn draw_bars(title: &str, unit: &str, bars: &[(String, f64, bool)]) -> String {
    let height = LINE_HEIGHT * (bars.len() as f64 + 3.0);
    let scale = Scale::over(bars.iter().map(|(_, figure, _)| *figure), LEFT, WIDTH - LEFT - RIGHT);
    let mut svg = Svg::new(title, height);
    for tick in scale.ticks() {
        svg.line([scale.place(tick), LINE_HEIGHT * 1.5], [scale.place(tick), height - LINE_HEIGHT], "#8b949e55", 1);
        svg.text(scale.place(tick), height - 6.0, "middle", &rounded(tick));
    }
    for (row, (name, figure, is_ours)) in bars.iter().enumerate() {
        let top = LINE_HEIGHT * (row as f64 + 1.75);
        let length = (scale.place(*figure) - LEFT).max(2.0);
        svg.bar(LEFT, top, length, COLORS[usize::from(!is_ours)]);
        svg.text(LEFT - 8.0, top + 13.0, "end", name);
        svg.text(LEFT + length + 6.0, top + 13.0, "start", &format!("{} {unit}", rounded(*figure)));
    }
    svg.end()
}

fn draw_lines(title: &str, x: &str, unit: &str, curves: &[(&'static str, Vec<(f64, f64)>)]) -> String {
    const BORDER: f64 = 60.0;
    let points = || curves.iter().flat_map(|(_, points)| points);
    let wide = Scale::over(points().map(|point| point.0), BORDER, WIDTH - BORDER - 200.0);
    let high = Scale::over(points().map(|point| point.1), LINES_HEIGHT - BORDER, -(LINES_HEIGHT - 2.0 * BORDER));
    let mut svg = Svg::new(title, LINES_HEIGHT);
    for tick in wide.ticks() {
        svg.line([wide.place(tick), high.place(10_f64.powf(high.to))], [wide.place(tick), high.start], "#8b949e55", 1);
        svg.text(wide.place(tick), high.start + 18.0, "middle", &rounded(tick));
    }
    for tick in high.ticks() {
        svg.line([wide.start, high.place(tick)], [wide.start + wide.length, high.place(tick)], "#8b949e55", 1);
        svg.text(wide.start - 8.0, high.place(tick) + 4.0, "end", &rounded(tick));
    }
    svg.text(wide.start + wide.length / 2.0, LINES_HEIGHT - 8.0, "middle", x);
    svg.text(wide.start, BORDER - 12.0, "middle", unit);
    for (row, (name, points)) in curves.iter().enumerate() {
        let color = COLORS[row % COLORS.len()];
        let placed: Vec<_> = points.iter().map(|point| [wide.place(point.0), high.place(point.1)]).collect();
        for pair in placed.windows(2) {
            svg.line(pair[0], pair[1], color, 3);
        }
        let legend = BORDER + LINE_HEIGHT * row as f64;
        let left = wide.start + wide.length + 20.0;
        svg.line([left, legend], [left + 24.0, legend], color, 3);
        svg.text(left + 32.0, legend + 4.0, "start", name);
    }
    svg.end()
}

struct Svg(String);

impl Svg {
    fn new(title: &str, height: f64) -> Self {
        let mut svg = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#8b949e\">\n"
        ));
        svg.text(8.0, 18.0, "start", title);
        svg
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"));
    }

    fn line(&mut self, from: [f64; 2], to: [f64; 2], color: &str, width: u32) {
        let ([x1, y1], [x2, y2]) = (from, to);
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\" stroke-width=\"{width}\"/>"
        ));
    }

    fn bar(&mut self, x: f64, y: f64, length: f64, color: &str) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"18\" rx=\"3\" fill=\"{color}\"/>"
        ));
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("text is written to memory without fail");
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}
