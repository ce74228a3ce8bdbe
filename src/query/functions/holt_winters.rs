//! Holt-Winters forecasts: damped trend, multiplicative seasons, fitted by the Nelder-Mead simplex method.
//!
//! A fit of many points takes long: it gives way, and may be ended, between two walks over the points.

use super::super::control::Control;
use super::super::error::{QueryError, Result};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HoltWinters {
    /// Points to forecast.
    pub horizon: usize,
    /// Points of a season; below 2 there are none.
    pub season: usize,
    /// The fitted points too.
    pub with_fit: bool,
    /// Distance of the points in ns.
    pub interval: i64,
}

/// How far apart the halves of a season's first guess are tried.
const GUESSES_LOWER: f64 = 0.3;
const GUESSES_UPPER: f64 = 1.0;
const GUESSES_STEP: f64 = 0.4;
/// The simplex ends when its values differ by no more.
const EPSILON: f64 = 1.0e-4;
const ITERATIONS_MAX: usize = 1000;
/// Most windows a fit covers; it walks all of them thousands of times.
const SLOTS_MAX: usize = 1 << 20;
/// Longest season that is fitted: the simplex has a corner, of as many numbers, per point of a season.
const SEASON_MAX: usize = 1024;
/// Nanoseconds, about, that one point of a walk takes.
const SLOT_NS: usize = 20;
/// Points of a walk between two chances to give way.
const STEP_SLOTS: usize = 1024;

/// Forecast (and fit) of the points of one series; absent points are holes to be bridged.
pub async fn forecast(
    wanted: HoltWinters,
    times: &[i64],
    values: &[f64],
    control: &Control,
) -> Result<Vec<(i64, f64)>> {
    let interval = wanted.interval.max(1);
    let season = wanted.season.max(1);
    let seasonal = wanted.season > 1;
    if times.len() < 2 || (seasonal && times.len() <= season) {
        return Ok(Vec::new());
    }
    if season > SEASON_MAX {
        return Err(QueryError::statement(format!(
            "holt_winters() takes seasons of {SEASON_MAX} points at most, got {season}"
        )));
    }
    let start = times[0];
    let stop = times[times.len() - 1];
    let slots = ((stop - start) / interval + 1) as usize;
    if slots > SLOTS_MAX {
        return Ok(Vec::new());
    }
    // Holes between points stay unknown to the fit.
    let mut series = vec![f64::NAN; slots];
    for (time, value) in times.iter().zip(values) {
        let slot = ((time - start) / interval) as usize;
        if let Some(held) = series.get_mut(slot) {
            *held = *value;
        }
    }
    let model = Model { season, seasonal, series: &series };
    let initial_level = model.first_level();
    let initial_trend = model.first_trend();
    let first_season = model.first_season(initial_level);
    let mut best: Option<(f64, Vec<f64>)> = None;
    let mut alpha = GUESSES_LOWER;
    while alpha < GUESSES_UPPER {
        let mut beta = GUESSES_LOWER;
        while beta < GUESSES_UPPER {
            let mut gamma = GUESSES_LOWER;
            while gamma < GUESSES_UPPER {
                let mut phi = GUESSES_LOWER;
                while phi < GUESSES_UPPER {
                    let mut guess = vec![alpha, beta, gamma, phi, initial_level, initial_trend];
                    guess.extend(&first_season);
                    let (error, parameters) = minimize(&model, guess, control).await?;
                    if best.as_ref().is_none_or(|(least, _)| error < *least) {
                        best = Some((error, parameters));
                    }
                    phi += GUESSES_STEP;
                }
                if !seasonal {
                    break;
                }
                gamma += GUESSES_STEP;
            }
            beta += GUESSES_STEP;
        }
        alpha += GUESSES_STEP;
    }
    let Some((_, mut parameters)) = best else { return Ok(Vec::new()) };
    bound(&mut parameters);
    let fitted = model.run(&parameters, slots + wanted.horizon, control).await?;
    let points = fitted
        .into_iter()
        .enumerate()
        .filter(|(slot, value)| (wanted.with_fit || *slot >= slots) && value.is_finite())
        .map(|(slot, value)| (start + slot as i64 * interval, value));
    Ok(points.collect())
}

struct Model<'a> {
    season: usize,
    seasonal: bool,
    series: &'a [f64],
}

impl Model<'_> {
    fn first_level(&self) -> f64 {
        if !self.seasonal {
            return self.series[0];
        }
        mean(self.series.iter().take(self.season))
    }

    fn first_trend(&self) -> f64 {
        if !self.seasonal {
            return self.series.get(1).copied().filter(|value| !value.is_nan()).unwrap_or(self.series[0])
                - self.series[0];
        }
        let steps = (0..self.season).filter_map(|at| {
            let later = self.series.get(self.season + at)?;
            let change = later - self.series[at];
            (!change.is_nan()).then_some(change / self.season as f64)
        });
        let (sum, count) = steps.fold((0.0, 0.0), |(sum, count), step| (sum + step, count + 1.0));
        if count == 0.0 { 0.0 } else { sum / count }
    }

    fn first_season(&self, level: f64) -> Vec<f64> {
        if !self.seasonal {
            return Vec::new();
        }
        (0..self.season)
            .map(|at| {
                let share = self.series.get(at).map_or(1.0, |value| value / level);
                if share.is_finite() { share } else { 1.0 }
            })
            .collect()
    }

    /// The fit, and `length` slots of forecast beyond the series.
    async fn run(&self, parameters: &[f64], length: usize, control: &Control) -> Result<Vec<f64>> {
        let [alpha, beta, gamma, phi] = [parameters[0], parameters[1], parameters[2], parameters[3]];
        let mut level = parameters[4];
        let mut trend = parameters[5];
        let mut seasons: Vec<f64> = parameters[6..].to_vec();
        let mut out = Vec::with_capacity(length);
        out.push(self.series[0]);
        let mut damping = 0.0;
        let mut power = phi;
        for slot in 1..length {
            if slot % STEP_SLOTS == 0 {
                control.spent((SLOT_NS * STEP_SLOTS) as u64).await?;
            }
            let at = slot % self.season;
            let share = if self.seasonal { seasons[at] } else { 1.0 };
            let known = self.series.get(slot).copied().filter(|value| !value.is_nan());
            match known {
                Some(value) => {
                    out.push((level + phi * trend) * share);
                    let last_level = level;
                    level = alpha * (value / share) + (1.0 - alpha) * (level + phi * trend);
                    trend = beta * (level - last_level) + (1.0 - beta) * phi * trend;
                    if self.seasonal {
                        seasons[at] = gamma * (value / (last_level + phi * trend)) + (1.0 - gamma) * share;
                    }
                    damping = 0.0;
                    power = phi;
                }
                None => {
                    damping += power;
                    power *= phi;
                    out.push((level + damping * trend) * share);
                }
            }
        }
        control.spent((SLOT_NS * (length % STEP_SLOTS + parameters.len())) as u64).await?;
        Ok(out)
    }

    /// Sum of the squared errors of the fit.
    async fn error(&self, parameters: &[f64], control: &Control) -> Result<f64> {
        let mut parameters = parameters.to_vec();
        bound(&mut parameters);
        let fitted = self.run(&parameters, self.series.len(), control).await?;
        let mut error = 0.0;
        for (fitted, values) in fitted.chunks(STEP_SLOTS).zip(self.series.chunks(STEP_SLOTS)) {
            for (fit, value) in fitted.iter().zip(values).filter(|(_, value)| !value.is_nan()) {
                error += (fit - value).powi(2);
            }
            control.spent(values.len() as u64).await?;
        }
        Ok(if error.is_nan() { f64::INFINITY } else { error })
    }
}

fn mean<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let (sum, count) = values
        .filter(|value| !value.is_nan())
        .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count == 0.0 { 0.0 } else { sum / count }
}

/// The four weights lie between 0 and 1.
fn bound(parameters: &mut [f64]) {
    for weight in &mut parameters[..4] {
        *weight = weight.clamp(0.0, 1.0);
    }
}

/// The downhill simplex method from a start point: (least error, where).
async fn minimize(model: &Model<'_>, start: Vec<f64>, control: &Control) -> Result<(f64, Vec<f64>)> {
    let n = start.len();
    let measured = async |point: Vec<f64>| -> Result<(f64, Vec<f64>)> {
        Ok((model.error(&point, control).await?, point))
    };
    let mut simplex: Vec<(f64, Vec<f64>)> = Vec::with_capacity(n + 1);
    let pn = ((n as f64 + 1.0).sqrt() - 1.0 + n as f64) / (n as f64 * 2f64.sqrt());
    let qn = ((n as f64 + 1.0).sqrt() - 1.0) / (n as f64 * 2f64.sqrt());
    simplex.push(measured(start.clone()).await?);
    for vertex in 0..n {
        let point: Vec<f64> =
            start.iter().enumerate().map(|(at, x)| x + if at == vertex { pn } else { qn }).collect();
        simplex.push(measured(point).await?);
    }
    for _ in 0..ITERATIONS_MAX {
        simplex.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut centroid = vec![0.0; n];
        for (_, point) in &simplex[..n] {
            for (sum, x) in centroid.iter_mut().zip(point) {
                *sum += x;
            }
            control.spent(n as u64).await?;
        }
        for sum in &mut centroid {
            *sum /= n as f64;
        }
        let worst = simplex[n].1.clone();
        let towards = |factor: f64| -> Vec<f64> {
            let pairs = centroid.iter().zip(&worst);
            pairs.map(|(center, worst)| center + factor * (center - worst)).collect()
        };
        let reflected = measured(towards(1.0)).await?;
        if reflected.0 < simplex[0].0 {
            let expanded = measured(towards(2.0)).await?;
            simplex[n] = if expanded.0 < reflected.0 { expanded } else { reflected };
        } else if reflected.0 < simplex[n - 1].0 {
            simplex[n] = reflected;
        } else {
            let contracted = measured(towards(if reflected.0 < simplex[n].0 { 0.5 } else { -0.5 })).await?;
            if contracted.0 < simplex[n].0 {
                simplex[n] = contracted;
            } else {
                let least = simplex[0].1.clone();
                for vertex in &mut simplex[1..] {
                    let pairs = vertex.1.iter().zip(&least);
                    let point = pairs.map(|(x, least)| least + (x - least) / 2.0).collect();
                    *vertex = measured(point).await?;
                }
            }
        }
        let average = simplex.iter().map(|(value, _)| value).sum::<f64>() / (n as f64 + 1.0);
        let spread =
            (simplex.iter().map(|(value, _)| (value - average).powi(2)).sum::<f64>() / n as f64).sqrt();
        if spread < EPSILON || spread.is_nan() {
            break;
        }
    }
    simplex.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(simplex.swap_remove(0))
}
