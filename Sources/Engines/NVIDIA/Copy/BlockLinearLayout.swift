#if MUTANTS
    import Fencing
#endif

/// Where the bytes of a block-linear surface are.
///
/// A surface is cut into blocks, which follow each other line by line and then layer by layer. A
/// block is cut into GOBs ("groups of bytes") of 512 bytes, 64 bytes wide and 8 lines high, again
/// line by line and then by depth. Inside a GOB the bits of x (bytes) and y (lines) are mixed:
///
/// | Bit of the offset | 8 | 7 | 6 | 5 | 4 | 3…0 |
/// |---|---|---|---|---|---|---|
/// | | x5 | y2 | x4 | y1 | y0 | x3…x0 |
///
/// so that 16 bytes of a line are contiguous.
///
/// which is the layout of desktop GPUs ("sector layout 1" of `drm_fourcc.h`); Tegra's has x4 and y1
/// the other way round.
///
/// Sources: the fields of SET_SRC_BLOCK_SIZE in NVIDIA open-gpu-doc, `clc5b5.h`; the order of the
/// bits as the tiled copies of Mesa's `src/nouveau/nil/copy.rs` have it for Turing.
struct BlockLinearLayout: Equatable {
    /// The bytes of a line that are contiguous, aligned to as many.
    static let run: UInt64 = 16

    /// Logarithms of the block's size in GOBs.
    private let blockWidth: UInt64
    private let blockHeight: UInt64
    private let blockDepth: UInt64
    /// Blocks side by side.
    private let blocksAcross: UInt64
    /// Blocks below each other.
    private let blocksDown: UInt64
    private let layer: UInt64

    /// - Parameters:
    ///   - blockSize: The register: logarithms of the block's width, height and depth in GOBs at
    ///     3:0, 7:4, 11:8, and the kind of GOB at 15:12, of which there is one, 1.
    ///   - widthBytes: The surface's width in bytes.
    ///   - height: The surface's height in lines.
    ///   - layer: The layer that is meant, counted along the depth.
    /// - Returns: nil if the register has a kind of GOB or a size that the class does not define.
    init?(blockSize: UInt32, widthBytes: UInt64, height: UInt32, layer: UInt32) {
        guard blockSize >> 12 == 1, blockSize & 0xf <= 5, blockSize >> 4 & 0xf <= 5,
            blockSize >> 8 & 0xf <= 5
        else { return nil }
        self.init(
            width: UInt64(blockSize & 0xf), height: UInt64(blockSize >> 4 & 0xf),
            depth: UInt64(blockSize >> 8 & 0xf), widthBytes: widthBytes, lines: height, layer: layer
        )
    }

    /// The same, but for a register without the kind of GOB (the inline-to-memory class).
    init?(upload blockSize: UInt32, widthBytes: UInt64, height: UInt32, layer: UInt32) {
        guard blockSize >> 12 == 0 else { return nil }
        self.init(
            blockSize: blockSize | 1 << 12, widthBytes: widthBytes, height: height, layer: layer)
    }

    private init(
        width: UInt64, height: UInt64, depth: UInt64, widthBytes: UInt64, lines: UInt32,
        layer: UInt32
    ) {
        blockWidth = width
        blockHeight = height
        blockDepth = depth
        blocksAcross = Self.quotient(widthBytes, shift: 6 + width)
        blocksDown = Self.quotient(UInt64(lines), shift: 3 + height)
        self.layer = UInt64(layer)
    }

    /// Rounded up.
    private static func quotient(_ value: UInt64, shift: UInt64) -> UInt64 {
        (value &+ ((1 &<< shift) &- 1)) &>> shift
    }

    /// The offset of the byte at `x` of line `y`.
    func offset(x: UInt64, y: UInt64) -> UInt64 {
        let gobX = x >> 6
        let gobY = y >> 3
        let block =
            ((layer &>> blockDepth) &* blocksDown &+ (gobY &>> blockHeight)) &* blocksAcross
            &+ (gobX &>> blockWidth)
        let lineInBlock = gobY & ((1 &<< blockHeight) &- 1)
        let columnInBlock = gobX & ((1 &<< blockWidth) &- 1)
        let layerInBlock = layer & ((1 &<< blockDepth) &- 1)
        let gob =
            (((layerInBlock &<< blockHeight) &+ lineInBlock) &<< blockWidth) &+ columnInBlock
        let gobs = (block &<< (blockWidth &+ blockHeight &+ blockDepth)) &+ gob
        return gobs &<< 9 | Self.offsetInGOB(x, y)
    }

    /// The bytes of the layer that hold `lines` lines from `y` on, whole blocks at a time; nil if
    /// they are not below 2^64.
    func span(of lines: UInt64, from y: UInt64) -> (first: UInt64, bytes: UInt64)? {
        let shift = 3 &+ blockHeight
        let firstRow = y >> shift
        let rows = ((y &+ lines &- 1) >> shift) &- firstRow &+ 1
        let (layers, overflow) = (layer &>> blockDepth).multipliedReportingOverflow(by: blocksDown)
        let rowBytes = blocksAcross &<< (blockWidth &+ blockHeight &+ blockDepth &+ 9)
        let (first, below) = (layers &+ firstRow).multipliedReportingOverflow(by: rowBytes)
        let (bytes, above) = rows.multipliedReportingOverflow(by: rowBytes)
        return overflow || below || above || bytes == 0 ? nil : (first, bytes)
    }

    private static func offsetInGOB(_ x: UInt64, _ y: UInt64) -> UInt64 {
        #if MUTANTS
            if Mutant.isPlanted("gobBitsSwapped") {
                return (x & 0x20) &<< 3 | (y & 6) &<< 5 | (x & 0x10) &<< 1 | (y & 1) &<< 4 | x & 0xf
            }
        #endif
        return (x & 0x20) &<< 3 | (y & 4) &<< 5 | (x & 0x10) &<< 2 | (y & 3) &<< 4 | x & 0xf
    }
}
