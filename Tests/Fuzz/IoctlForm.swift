/// What an ioctl's argument looks like: enough to make calls that get far.
struct IoctlForm {
    /// What a field holds.
    enum Field {
        case gem, syncobj, channel
        /// Small bits.
        case flags
        /// A GPU address, or a size of some pages.
        case address, size
        /// Where a buffer may be.
        case domain
        /// Of the n-th array.
        case count(Int)
        case any32, any64
        /// A deadline: passed, or never.
        case deadline
        case constant(UInt64, bytes: Int)

        var bytes: Int {
            switch self {
            case .address, .size, .any64, .deadline: 8
            case .constant(_, let bytes): bytes
            default: 4
            }
        }
    }

    /// An array that a pointer of the argument leads to.
    struct Block {
        var pointer: Int
        var stride: Int
        var fields: [(offset: Int, Field)]
        var isOutput = false
    }

    var request: UInt32
    var fields: [(offset: Int, Field)] = []
    var blocks: [Block] = []
    /// Whether a descriptor comes with it; those of sync_files and dma-bufs come on one, too.
    var descriptors = 0

    private static let handles = Block(pointer: 0, stride: 4, fields: [(0, .syncobj)])
    private static let points = Block(pointer: 8, stride: 8, fields: [(0, .any64)])
    private static func syncs(_ pointer: Int) -> Block {
        Block(pointer: pointer, stride: 16, fields: [(0, .flags), (4, .syncobj), (8, .any64)])
    }

    /// Every call of the node, and those on descriptors.
    static let all: [IoctlForm] = [
        IoctlForm(
            request: 0xc040_6400,
            blocks: [24, 40, 56].map {
                Block(pointer: $0, stride: 8, fields: [], isOutput: true)
            }),
        IoctlForm(request: 0x4008_6409, fields: [(0, .gem)]),
        IoctlForm(request: 0xc010_640c, fields: [(0, .any64)]),
        IoctlForm(request: 0x4010_640d, fields: [(0, .any64), (8, .any64)]),
        IoctlForm(request: 0xc00c_642d, fields: [(0, .gem), (4, .flags)]),
        IoctlForm(request: 0xc00c_642e, fields: [(4, .flags)], descriptors: 1),
        IoctlForm(request: 0xc010_6440, fields: [(0, .any64)]),
        IoctlForm(request: 0xc058_6442, fields: [(0, .any32), (4, .any32)]),
        IoctlForm(request: 0x4004_6443, fields: [(0, .channel)]),
        IoctlForm(request: 0xc018_6447, fields: [(0, .constant(3 << 8, bytes: 4)), (16, .any64)]),
        IoctlForm(
            request: 0xc038_6447,
            fields: [
                (0, .constant(2 << 8, bytes: 4)), (6, .flags), (8, .channel), (40, .any64),
                (52, .any32),
            ]),
        IoctlForm(
            request: 0xc048_6447,
            fields: [
                (0, .constant(0xff00_0100, bytes: 4)), (4, .constant(0xff00_0000, bytes: 4)),
                (8, .channel), (24, .constant(5 << 8, bytes: 4)),
            ]),
        IoctlForm(
            request: 0xc088_6447, fields: [(0, .constant(4 << 8, bytes: 4)), (16, .any64)]),
        IoctlForm(request: 0xc010_6448, fields: [(0, .any64), (8, .any64)]),
        IoctlForm(request: 0xc028_6449, fields: [(0, .any64), (8, .any64)]),
        IoctlForm(
            request: 0x4010_6450, fields: [(0, .constant(1 << 39, bytes: 8)), (8, .any64)]),
        IoctlForm(
            request: 0xc028_6451,
            fields: [(0, .count(2)), (4, .flags), (8, .count(0)), (12, .count(1))],
            blocks: [
                syncs(16), syncs(24),
                Block(
                    pointer: 32, stride: 40,
                    fields: [
                        (0, .flags), (4, .flags), (8, .gem), (16, .address), (24, .size),
                        (32, .size),
                    ]),
            ]),
        IoctlForm(
            request: 0xc028_6452,
            fields: [(0, .channel), (4, .count(2)), (8, .count(0)), (12, .count(1))],
            blocks: [
                syncs(16), syncs(24),
                Block(
                    pointer: 32, stride: 16, fields: [(0, .address), (8, .any32), (12, .flags)]),
            ]),
        IoctlForm(request: 0x8030_6453),
        IoctlForm(
            request: 0xc030_6480,
            fields: [
                (4, .domain), (8, .size), (32, .any32), (36, .any32), (40, .any32), (44, .any32),
            ]),
        IoctlForm(
            request: 0xc040_6481,
            fields: [
                (0, .channel), (4, .count(0)), (16, .flags), (20, .count(1)), (48, .flags),
            ],
            blocks: [
                Block(
                    pointer: 8, stride: 40,
                    fields: [(8, .gem), (12, .domain), (16, .domain), (20, .domain)]),
                Block(
                    pointer: 32, stride: 24, fields: [(0, .flags), (8, .size), (16, .any64)]),
            ]),
        IoctlForm(request: 0x4008_6482, fields: [(0, .gem), (4, .flags)]),
        IoctlForm(request: 0x4004_6483, fields: [(0, .gem)]),
        IoctlForm(request: 0xc028_6484, fields: [(0, .gem)]),
        IoctlForm(request: 0xc008_64bf, fields: [(4, .flags)]),
        IoctlForm(request: 0xc008_64c0, fields: [(0, .syncobj)]),
        IoctlForm(request: 0xc018_64c1, fields: [(0, .syncobj), (4, .flags), (16, .any64)]),
        IoctlForm(
            request: 0xc018_64c2, fields: [(0, .syncobj), (4, .flags), (16, .any64)],
            descriptors: 1),
        IoctlForm(
            request: 0xc028_64c3, fields: [(8, .deadline), (16, .count(0)), (20, .flags)],
            blocks: [handles]),
        IoctlForm(request: 0xc010_64c4, fields: [(8, .count(0))], blocks: [handles]),
        IoctlForm(request: 0xc010_64c5, fields: [(8, .count(0))], blocks: [handles]),
        IoctlForm(
            request: 0xc030_64ca, fields: [(16, .deadline), (24, .count(0)), (28, .flags)],
            blocks: [handles, points]),
        IoctlForm(
            request: 0xc018_64cb, fields: [(16, .count(0)), (20, .flags)],
            blocks: [handles, Block(pointer: 8, stride: 8, fields: [], isOutput: true)]),
        IoctlForm(
            request: 0xc020_64cc,
            fields: [(0, .syncobj), (4, .syncobj), (8, .any64), (16, .any64), (24, .flags)]),
        IoctlForm(
            request: 0xc018_64cd, fields: [(16, .count(0)), (20, .flags)],
            blocks: [handles, points]),
        IoctlForm(
            request: 0xc018_64cf, fields: [(0, .syncobj), (4, .flags), (8, .any64)],
            descriptors: 1),
        IoctlForm(request: 0xc030_3e03, fields: [(40, .flags)], descriptors: 2),
        IoctlForm(
            request: 0xc038_3e04, fields: [(36, .flags), (40, .count(0))],
            blocks: [Block(pointer: 48, stride: 80, fields: [], isOutput: true)], descriptors: 1),
        IoctlForm(request: 0x4010_3e05, fields: [(0, .any64)], descriptors: 1),
        IoctlForm(request: 0x4008_6200, fields: [(0, .flags)], descriptors: 1),
        IoctlForm(
            request: 0x4008_6201,
            blocks: [Block(pointer: 8, stride: 1, fields: [(0, .any32)])], descriptors: 1),
        IoctlForm(request: 0xc008_6202, fields: [(0, .flags)], descriptors: 1),
        IoctlForm(request: 0x4008_6203, fields: [(0, .flags)], descriptors: 2),
    ]
}
