import Glibc

/// Why a sparse region or a mapping in one is refused; the errnos are nouveau's.
public enum SparseConflict: Sendable, Equatable {
    /// The new region overlaps one: ENOSPC.
    case overlaps
    /// The array makes two regions that overlap: EEXIST.
    case exists
    /// The mapping is partly inside of a region and partly outside: ENOSPC.
    case crosses
    /// The array removes the region and maps in it: EINVAL.
    case isRemoved
    /// No region has exactly that range: ENOENT.
    case missing

    var errno: Int32 {
        switch self {
        case .overlaps, .crosses: ENOSPC
        case .exists: EEXIST
        case .isRemoved: EINVAL
        case .missing: ENOENT
        }
    }

    var text: String {
        switch self {
        case .overlaps: "a sparse region overlaps another"
        case .exists: "the same request makes a sparse region there"
        case .crosses: "the mapping crosses the bounds of a sparse region"
        case .isRemoved: "the same request removes the sparse region there"
        case .missing: "no sparse region has exactly that range"
        }
    }
}
