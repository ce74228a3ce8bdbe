//! The moving averages and oscillators of technical analysis.
//!
//! Every one takes numbers in order and answers with a number once it has seen enough of them.

/// What an average does until it has a period's worth of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warmup {
    /// The first number is the first average.
    Exponential,
    /// The mean of the first period's numbers is the first average.
    Simple,
    /// Oscillators only: plain sums, no smoothing.
    None,
}

/// One exponential average.
#[derive(Debug, Clone)]
struct Average {
    period: usize,
    count: usize,
    last: f64,
    alpha: f64,
    warmup: Warmup,
}

impl Average {
    fn new(period: usize, warmup: Warmup) -> Self {
        Self { period, count: 0, last: 0.0, alpha: 2.0 / (period as f64 + 1.0), warmup }
    }

    /// Wilder's smoothing.
    fn wilder(period: usize, warmup: Warmup) -> Self {
        Self { alpha: 1.0 / period as f64, ..Self::new(period, warmup) }
    }

    fn add(&mut self, value: f64) -> f64 {
        self.count += 1;
        if self.count == 1 {
            self.last = value;
        } else if self.warmup == Warmup::Simple && self.count <= self.period {
            self.last += (value - self.last) / self.count as f64;
        } else {
            self.last += self.alpha * (value - self.last);
        }
        self.last
    }

    fn is_warm(&self) -> bool {
        self.count >= self.period
    }
}

#[derive(Debug, Clone)]
enum Kind {
    /// One to three averages of one another, combined: EMA, DEMA, TEMA.
    Nested(Vec<Average>),
    /// The rate of change of a triple average, in percent.
    Trix {
        averages: [Average; 3],
        last: Option<f64>,
    },
    Rsi {
        up: Average,
        down: Average,
        last: Option<f64>,
    },
    Cmo(Cmo),
    Kaufman {
        ratio: Ratio,
        adaptive: Option<Option<f64>>,
    },
}

#[derive(Debug, Clone)]
struct Cmo {
    period: usize,
    last: Option<f64>,
    changes: Vec<f64>,
    averages: Option<(Average, Average)>,
}

/// Kaufman's efficiency ratio: the net change of a period over the sum of its changes.
#[derive(Debug, Clone)]
struct Ratio {
    period: usize,
    values: Vec<f64>,
}

/// A function with its memory. One per call and series.
#[derive(Debug, Clone)]
pub struct Technical {
    kind: Kind,
    /// Numbers still to be seen before the first answer.
    hold: usize,
}

impl Technical {
    /// `hold`: numbers before the first answer; `None`: as many as the function needs to settle.
    pub fn by_name(name: &str, period: usize, hold: Option<usize>, warmup: Option<Warmup>) -> Option<Self> {
        let average = || Average::new(period, warmup.unwrap_or(Warmup::Exponential));
        let (kind, settle) = match name {
            "exponential_moving_average" => (Kind::Nested(vec![average()]), period - 1),
            "double_exponential_moving_average" => {
                (Kind::Nested(vec![average(), average()]), (period - 1) * 2)
            }
            "triple_exponential_moving_average" => {
                (Kind::Nested(vec![average(), average(), average()]), (period - 1) * 3)
            }
            "triple_exponential_derivative" => {
                (Kind::Trix { averages: [average(), average(), average()], last: None }, (period - 1) * 3 + 1)
            }
            "relative_strength_index" => {
                let wilder = || Average::wilder(period, warmup.unwrap_or(Warmup::Exponential));
                (Kind::Rsi { up: wilder(), down: wilder(), last: None }, period)
            }
            "chande_momentum_oscillator" => {
                let averages = match warmup.unwrap_or(Warmup::None) {
                    Warmup::None => None,
                    warmup => Some((Average::new(period, warmup), Average::new(period, warmup))),
                };
                (Kind::Cmo(Cmo { period, last: None, changes: Vec::new(), averages }), period)
            }
            "kaufmans_efficiency_ratio" => {
                (Kind::Kaufman { ratio: Ratio { period, values: Vec::new() }, adaptive: None }, period)
            }
            "kaufmans_adaptive_moving_average" => {
                (Kind::Kaufman { ratio: Ratio { period, values: Vec::new() }, adaptive: Some(None) }, period)
            }
            _ => return None,
        };
        Some(Self { kind, hold: hold.unwrap_or(settle) })
    }

    /// Takes the next number.
    pub fn next(&mut self, value: f64) -> Option<f64> {
        let result = self.kind.next(value);
        if self.hold > 0 {
            self.hold -= 1;
            return None;
        }
        result.filter(|result| result.is_finite())
    }
}

impl Kind {
    fn next(&mut self, value: f64) -> Option<f64> {
        match self {
            Self::Nested(averages) => {
                let mut results = [0.0; 3];
                let mut input = value;
                let mut warm = true;
                for (at, average) in averages.iter_mut().enumerate() {
                    // With a simple warm-up each average waits for the one before it.
                    if average.warmup == Warmup::Simple && !warm {
                        results[at] = input;
                        continue;
                    }
                    input = average.add(input);
                    results[at] = input;
                    warm = average.is_warm();
                }
                Some(match averages.len() {
                    1 => results[0],
                    2 => 2.0 * results[0] - results[1],
                    _ => 3.0 * results[0] - 3.0 * results[1] + results[2],
                })
            }
            Self::Trix { averages, last } => {
                let mut input = value;
                for average in averages {
                    input = average.add(input);
                }
                let before = last.replace(input)?;
                Some((input / before - 1.0) * 100.0)
            }
            Self::Rsi { up, down, last } => {
                let before = last.replace(value)?;
                let change = value - before;
                let rise = up.add(change.max(0.0));
                let fall = down.add((-change).max(0.0));
                Some(100.0 - 100.0 / (1.0 + rise / fall))
            }
            Self::Cmo(cmo) => cmo.next(value),
            Self::Kaufman { ratio, adaptive } => {
                let efficiency = ratio.next(value);
                match adaptive {
                    None => efficiency,
                    Some(average) => {
                        let Some(efficiency) = efficiency else {
                            *average = Some(value);
                            return None;
                        };
                        // Between the averages of two and of thirty numbers, by efficiency.
                        let smoothing = (efficiency * (2.0 / 3.0 - 2.0 / 31.0) + 2.0 / 31.0).powi(2);
                        let last = average.unwrap_or(value);
                        let next = last + smoothing * (value - last);
                        *average = Some(next);
                        Some(next)
                    }
                }
            }
        }
    }
}

impl Cmo {
    fn next(&mut self, value: f64) -> Option<f64> {
        let before = self.last.replace(value)?;
        let change = value - before;
        if let Some((up, down)) = &mut self.averages {
            let rise = up.add(change.max(0.0));
            let fall = down.add((-change).max(0.0));
            return Some(100.0 * (rise - fall) / (rise + fall));
        }
        self.changes.push(change);
        if self.changes.len() > self.period {
            self.changes.remove(0);
        }
        if self.changes.len() < self.period {
            return None;
        }
        let rise: f64 = self.changes.iter().filter(|change| **change > 0.0).sum();
        let fall: f64 = -self.changes.iter().filter(|change| **change < 0.0).sum::<f64>();
        Some(100.0 * (rise - fall) / (rise + fall))
    }
}

impl Ratio {
    fn next(&mut self, value: f64) -> Option<f64> {
        self.values.push(value);
        if self.values.len() > self.period + 1 {
            self.values.remove(0);
        }
        if self.values.len() <= self.period {
            return None;
        }
        let net = (value - self.values[0]).abs();
        let path: f64 = self.values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
        Some(if path == 0.0 { 1.0 } else { net / path })
    }
}
