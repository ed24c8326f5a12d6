/// An ioctl on a descriptor that an open file gave out, by its whole request number: these interfaces
/// have one size for each call.
///
/// Source: include/uapi/linux/sync_file.h, include/uapi/linux/dma-buf.h.
enum DescriptorRequest: UInt32, Sendable, CaseIterable {
    case syncMerge = 0xc030_3e03
    case syncFileInfo = 0xc038_3e04
    case syncSetDeadline = 0x4010_3e05

    case bufferSync = 0x4008_6200
    /// With the request's size of a program of 32 bits, and of one of 64.
    case bufferSetNameA = 0x4004_6201
    case bufferSetNameB = 0x4008_6201
    case bufferExportSyncFile = 0xc008_6202
    case bufferImportSyncFile = 0x4008_6203

    /// Whether it is a sync_file's; the others are a dma-buf's.
    var isOfSyncFile: Bool {
        switch self {
        case .syncMerge, .syncFileInfo, .syncSetDeadline: true
        default: false
        }
    }
}
