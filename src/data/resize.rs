//! Changing the size of pictures, a plane at a time.

/// A plane from `(height, width)` to `(to_height, to_width)`: means of blocks where both divide, else an antialiased
/// triangle filter (as wide as the picture shrinks, so that no pixel is passed over).
pub fn resize(plane: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    if from == to {
        return plane.to_vec();
    }
    let (across, down) = (Taps::new(from.1, to.1), Taps::new(from.0, to.0));
    let mut narrow = Vec::with_capacity(from.0 * to.1);
    for row in plane.chunks_exact(from.1.max(1)) {
        across.apply(|at| row[at], &mut narrow);
    }
    // The second direction works on columns; its result is written column by column and turned at the end.
    let mut columns = Vec::with_capacity(to.0 * to.1);
    for x in 0..to.1 {
        down.apply(|at| narrow[at * to.1 + x], &mut columns);
    }
    (0..to.0 * to.1).map(|at| columns[(at % to.1) * to.0 + at / to.1]).collect()
}

/// For each output position, where it reads and with which weights.
struct Taps(Vec<(usize, Vec<f32>)>);

impl Taps {
    fn new(from: usize, to: usize) -> Taps {
        if from.is_multiple_of(to) {
            let block = from / to;
            return Taps((0..to).map(|at| (at * block, vec![1.0 / block as f32; block])).collect());
        }
        let ratio = from as f64 / to as f64;
        let reach = ratio.max(1.0);
        let taps = (0..to).map(|at| {
            let centre = (at as f64 + 0.5) * ratio;
            let start = (centre - reach).floor().max(0.0) as usize;
            let end = ((centre + reach).ceil() as usize).min(from);
            let weights: Vec<f64> = (start..end)
                .map(|position| (1.0 - ((position as f64 + 0.5 - centre) / reach).abs()).max(0.0))
                .collect();
            let total: f64 = weights.iter().sum();
            (start, weights.iter().map(|weight| (weight / total) as f32).collect())
        });
        Taps(taps.collect())
    }

    fn apply(&self, value: impl Fn(usize) -> f32, out: &mut Vec<f32>) {
        for (start, weights) in &self.0 {
            out.push(weights.iter().enumerate().map(|(at, weight)| weight * value(start + at)).sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_takes_means_of_four() {
        let plane: Vec<f32> = (0..16).map(|n| n as f32).collect();
        assert_eq!(resize(&plane, (4, 4), (2, 2)), [2.5, 4.5, 10.5, 12.5]);
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        for (from, to) in [((28, 28), (14, 14)), ((28, 28), (32, 32)), ((7, 5), (3, 11)), ((1, 1), (4, 3))] {
            let out = resize(&vec![0.25; from.0 * from.1], from, to);
            assert_eq!(out.len(), to.0 * to.1);
            assert!(out.iter().all(|value| (value - 0.25).abs() < 1e-6), "{from:?} to {to:?}: {out:?}");
        }
    }

    #[test]
    fn a_ramp_stays_a_ramp_inside() {
        let plane: Vec<f32> = (0..10).map(|n| n as f32).collect();
        let out = resize(&plane, (1, 10), (1, 20));
        // Output 2k+1 sits a quarter of a pixel right of input k.
        assert!((out[9] - 4.25).abs() < 1e-5 && (out[10] - 4.75).abs() < 1e-5, "{out:?}");
    }

    #[test]
    fn shrinking_passes_over_no_pixel() {
        for bright in 0..9 {
            let plane: Vec<f32> = (0..9).map(|at| if at == bright { 1.0 } else { 0.0 }).collect();
            let out = resize(&plane, (1, 9), (1, 4));
            assert!(out.iter().sum::<f32>() > 0.2, "pixel {bright} is lost: {out:?}");
        }
    }

    #[test]
    fn height_and_width_are_not_confused() {
        let plane = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        assert_eq!(resize(&plane, (2, 3), (2, 1)), [0.0, 1.0]);
        assert_eq!(resize(&plane, (2, 3), (1, 3)), [0.5, 0.5, 0.5]);
    }
}
