//! Convolution and pooling composed of Candle ops, for devices that have no loops of this project.
//!
//! One table says for each tap of a window and each output which place of the padded plane it reads. Reading is
//! `index_select` by that table, the adjoint is `index_add`, and the sums in between are matrix products.

use candle_core::{DType, Result, Tensor};

use super::conv::Geometry;
use super::pool::Windows;

/// What the taps of a window read.
struct Table {
    taps: usize,
    pixels: usize,
    /// Of the plane and of the padded plane.
    size: [usize; 2],
    padded: [usize; 2],
    before: [usize; 2],
    places: Tensor,
}

impl Table {
    fn conv(g: &Geometry, like: &Tensor) -> Result<Table> {
        let size = [g.height, g.width];
        Table::new(size, g.kernel, g.stride, g.padding, g.dilation, [g.out_height, g.out_width], like)
    }

    fn pool(g: &Windows, like: &Tensor) -> Result<Table> {
        let size = [g.height, g.width];
        Table::new(size, g.window, g.stride, g.padding, [1, 1], [g.out_height, g.out_width], like)
    }

    fn new(
        size: [usize; 2],
        window: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
        dilation: [usize; 2],
        out: [usize; 2],
        like: &Tensor,
    ) -> Result<Table> {
        let padded = [size[0] + padding[0] + padding[1], size[1] + padding[2] + padding[3]];
        let (taps, pixels) = (window[0] * window[1], out[0] * out[1]);
        let place = |at: usize| {
            let (tap, pixel) = (at / pixels, at % pixels);
            let row = pixel / out[1] * stride[0] + tap / window[1] * dilation[0];
            let column = pixel % out[1] * stride[1] + tap % window[1] * dilation[1];
            (row * padded[1] + column) as i64
        };
        let places: Vec<i64> = (0..taps * pixels).map(place).collect();
        let places = Tensor::from_vec(places, taps * pixels, like.device())?;
        Ok(Table { taps, pixels, size, padded, before: [padding[0], padding[2]], places })
    }

    /// `[a, b, h, w]` to what each tap reads: `[a, b, taps * pixels]`. Padding is 0.
    fn read(&self, x: &Tensor) -> Result<Tensor> {
        let after = |at: usize| self.padded[at] - self.size[at] - self.before[at];
        let x = x.pad_with_zeros(2, self.before[0], after(0))?.pad_with_zeros(3, self.before[1], after(1))?;
        x.flatten_from(2)?.contiguous()?.index_select(&self.places, 2)
    }

    /// The adjoint of `read`.
    fn add(&self, read: &Tensor) -> Result<Tensor> {
        let (a, b, _) = read.dims3()?;
        let [height, width] = self.padded;
        let zeros = Tensor::zeros((a, b, height * width), read.dtype(), read.device())?;
        let sum = zeros.index_add(&self.places, &read.contiguous()?, 2)?.reshape((a, b, height, width))?;
        sum.narrow(2, self.before[0], self.size[0])?.narrow(3, self.before[1], self.size[1])?.contiguous()
    }
}

/// `[n, o, oh, ow]`.
pub fn conv2d(g: &Geometry, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let [top, bottom, left, right] = g.padding;
    let even = top == bottom && top == left && top == right;
    if even && g.stride[0] == g.stride[1] && g.dilation[0] == g.dilation[1] {
        return x.conv2d(w, top, g.stride[0], g.dilation[0], g.groups);
    }
    let table = Table::conv(g, x)?;
    let columns = columns(g, &table, x)?;
    let y = weights(g, w)?.broadcast_matmul(&columns)?;
    y.reshape((g.images, g.outputs, g.out_height, g.out_width))
}

pub fn conv2d_input_gradient(g: &Geometry, dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    let table = Table::conv(g, dy)?;
    let dy = dy.reshape((g.images, g.groups, g.outputs / g.groups, table.pixels))?;
    let columns = weights(g, w)?.transpose(2, 3)?.contiguous()?.broadcast_matmul(&dy)?;
    table.add(&columns.reshape((g.images, g.channels, table.taps * table.pixels))?)
}

pub fn conv2d_weight_gradient(g: &Geometry, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let table = Table::conv(g, x)?;
    let columns = columns(g, &table, x)?.transpose(2, 3)?.contiguous()?;
    let dy = dy.reshape((g.images, g.groups, g.outputs / g.groups, table.pixels))?;
    let dw = dy.matmul(&columns)?.sum(0)?;
    dw.reshape((g.outputs, g.channels / g.groups, g.kernel[0], g.kernel[1]))
}

/// `[n, groups, c / groups * taps, pixels]`.
fn columns(g: &Geometry, table: &Table, x: &Tensor) -> Result<Tensor> {
    table.read(x)?.reshape((g.images, g.groups, g.channels / g.groups * table.taps, table.pixels))
}

/// `[1, groups, o / groups, c / groups * taps]`.
fn weights(g: &Geometry, w: &Tensor) -> Result<Tensor> {
    let depth = g.channels / g.groups * g.kernel[0] * g.kernel[1];
    w.reshape((1, g.groups, g.outputs / g.groups, depth))
}

/// Values and positions `[planes, 1, pixels]`. Equal values: the smallest position. A window with a NaN has that as its
/// value and the position of its first place.
pub fn max_pool2d(g: &Windows, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let table = Table::pool(g, x)?;
    let planes = x.reshape((g.planes, 1, g.height, g.width))?;
    let shape = (g.planes, table.taps, table.pixels);
    let values = table.read(&planes)?.reshape(shape)?;
    // Positions counted from 1, so that padding is 0.
    let plane = Tensor::arange(1f64, (g.plane() + 1) as f64, x.device())?.reshape((1, 1, g.height, g.width))?;
    let places = table.read(&plane)?.reshape((1, table.taps, table.pixels))?.broadcast_as(shape)?.contiguous()?;
    let inside = places.gt(&places.zeros_like()?)?;
    let lowest = values.zeros_like()?.affine(0.0, f64::NEG_INFINITY)?;
    let values = inside.where_cond(&values, &lowest)?;
    let largest = values.max_keepdim(1)?;
    let is_largest = values.broadcast_eq(&largest)?;
    let beyond = places.ones_like()?.affine(0.0, (g.plane() + 1) as f64)?;
    let candidates = inside.where_cond(&is_largest.where_cond(&places, &beyond)?, &beyond)?;
    let first = inside.where_cond(&places, &beyond)?.min_keepdim(1)?;
    let found = candidates.min_keepdim(1)?;
    let found = found.gt(&found.ones_like()?.affine(0.0, g.plane() as f64)?)?.where_cond(&first, &found)?;
    Ok((largest, found.affine(1.0, -1.0)?.to_dtype(DType::I64)?))
}

pub fn max_pool2d_gradient(g: &Windows, dy: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let zeros = Tensor::zeros((g.planes, g.plane()), dy.dtype(), dy.device())?;
    let flat = (g.planes, g.pixels());
    zeros.scatter_add(&positions.reshape(flat)?.contiguous()?, &dy.reshape(flat)?.contiguous()?, 1)
}

pub fn sum_pool2d(g: &Windows, x: &Tensor) -> Result<Tensor> {
    let table = Table::pool(g, x)?;
    let read = table.read(&x.reshape((g.planes, 1, g.height, g.width))?)?;
    read.reshape((g.planes, table.taps, table.pixels))?.sum(1)
}

pub fn sum_pool2d_gradient(g: &Windows, dy: &Tensor) -> Result<Tensor> {
    let table = Table::pool(g, dy)?;
    let dy = dy.reshape((g.planes, 1, table.pixels))?.broadcast_as((g.planes, table.taps, table.pixels))?;
    table.add(&dy.contiguous()?.reshape((g.planes, 1, table.taps * table.pixels))?)
}
