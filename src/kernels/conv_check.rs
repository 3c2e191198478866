//! What tests of convolutions share: operands, the same sums in f64, and how far results are from them.

use super::conv::Geometry;
use super::par;

/// Sizes `[images, channels, height, width, outputs, groups]`, kernel, stride, padding and dilation.
pub type Case = ([usize; 6], [usize; 2], [usize; 2], [usize; 4], [usize; 2]);

pub fn geometry((sizes, kernel, stride, padding, dilation): Case) -> Geometry {
    let [images, channels, height, width, outputs, groups] = sizes;
    let out = |at: usize, size: usize| {
        let padded = size + padding[2 * at] + padding[2 * at + 1];
        (padded - dilation[at] * (kernel[at] - 1) - 1) / stride[at] + 1
    };
    let (out_height, out_width) = (out(0, height), out(1, width));
    Geometry {
        images,
        channels,
        height,
        width,
        outputs,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        out_height,
        out_width,
    }
}

/// Images, weights and cotangents with elements from -1 to 1, the same in every run.
pub fn operands(g: &Geometry) -> [Vec<f32>; 3] {
    let counts = [
        g.images * g.channels * g.height * g.width,
        g.outputs * g.channels / g.groups * g.kernel[0] * g.kernel[1],
        g.images * g.outputs * g.out_height * g.out_width,
    ];
    let mut state = 12345_u32;
    counts.map(|count| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    })
}

/// The three results as sums of f64.
pub fn exact(g: &Geometry, [x, w, dy]: &[Vec<f32>; 3]) -> [Vec<f64>; 3] {
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    let (channels, outputs, taps) = (g.channels / g.groups, g.outputs / g.groups, g.kernel[0] * g.kernel[1]);
    for (image, output) in (0..g.images).flat_map(|image| (0..g.outputs).map(move |output| (image, output))) {
        for (channel, tap) in (0..channels).flat_map(|channel| (0..taps).map(move |tap| (channel, tap))) {
            let (down, right) = (tap / g.kernel[1] * g.dilation[0], tap % g.kernel[1] * g.dilation[1]);
            let k = (output * channels + channel) * taps + tap;
            let plane = (image * g.channels + output / outputs * channels + channel) * g.height * g.width;
            for row in 0..g.out_height {
                let from = (row * g.stride[0] + down).wrapping_sub(g.padding[0]);
                for column in 0..g.out_width {
                    let at = (column * g.stride[1] + right).wrapping_sub(g.padding[2]);
                    if from < g.height && at < g.width {
                        let i = plane + from * g.width + at;
                        let o = ((image * g.outputs + output) * g.out_height + row) * g.out_width + column;
                        y[o] += f64::from(x[i]) * f64::from(w[k]);
                        dx[i] += f64::from(dy[o]) * f64::from(w[k]);
                        dw[k] += f64::from(x[i]) * f64::from(dy[o]);
                    }
                }
            }
        }
    }
    [y, dx, dw]
}

/// The largest error over the rms of what is wanted.
pub fn error(found: &[f32], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let rms = (wanted.iter().map(|x| x * x).sum::<f64>() / wanted.len() as f64).sqrt();
    let errors = found.iter().zip(wanted).map(|(x, y)| (f64::from(*x) - y).abs());
    // A NaN is larger than any error.
    errors.map(|error| if error.is_nan() { f64::INFINITY } else { error }).fold(0.0, f64::max) / rms.max(1e-30)
}

/// An algorithm's forward, input gradient and weight gradient.
pub type Three = [fn(&Geometry, &[f32], &[f32]) -> Vec<f32>; 3];

/// The three results of an algorithm.
pub fn results(g: &Geometry, [x, w, dy]: &[Vec<f32>; 3], [forward, input, weight]: Three) -> [Vec<f32>; 3] {
    [forward(g, x, w), input(g, dy, w), weight(g, x, dy)]
}

pub fn assert_near(case: Case, three: Three, tolerance: f64) {
    let g = geometry(case);
    let operands = operands(&g);
    let wanted = exact(&g, &operands);
    let found = results(&g, &operands, three);
    for (name, (found, wanted)) in
        ["forward", "input gradient", "weight gradient"].iter().zip(found.iter().zip(&wanted))
    {
        let error = error(found, wanted);
        assert!(error < tolerance, "{name}: error {error:e} of {g:?}");
    }
}

pub fn assert_same_bits(case: Case, three: Three) {
    let g = geometry(case);
    let operands = operands(&g);
    let bits = |threads| {
        let found = par::with_threads(threads, || results(&g, &operands, three));
        found.map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(5), "{g:?}");
}
