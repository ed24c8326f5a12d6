import Glibc
import TestSupport

/// Where a daemon's log goes; what was made for it goes with the object.
final class LogPlace {
    private let directory: TemporaryDirectory?
    private let isMounted: Bool

    /// The file; nil: one in the daemon's own directory.
    var log: String? { directory.map { "\($0.path)/log" } }

    private init(_ directory: TemporaryDirectory? = nil, isMounted: Bool = false) {
        self.directory = directory
        self.isMounted = isMounted
    }

    /// A place of a kind; nil if it cannot be had by this user.
    static func make(_ kind: LimitedDaemon.Disk) throws -> LogPlace? {
        switch kind {
        case .roomy: return LogPlace()
        case .small:
            guard geteuid() == 0 else { return nil }
            let directory = try TemporaryDirectory()
            guard mount("tmpfs", directory.path, "tmpfs", 0, "size=64k") == 0 else { return nil }
            return LogPlace(directory, isMounted: true)
        case .longFile(let bytes):
            let directory = try TemporaryDirectory()
            guard truncate(try directory.write("log", ""), bytes) == 0 else {
                throw Failure.system("a log cannot be made longer")
            }
            return LogPlace(directory)
        }
    }

    deinit {
        // Even while a daemon that ends still holds its log open.
        if isMounted, let directory { umount2(directory.path, Int32(MNT_DETACH)) }
    }
}
