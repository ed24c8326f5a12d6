import Glibc
import SystemPackage

/// How many file descriptors the process may have (RLIMIT_NOFILE).
enum DescriptorLimit {
    /// Raises the soft limit to the hard one; what is in force afterwards.
    static func raise() throws(Errno) -> Int {
        let resource = Int32(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { throw Errno(rawValue: errno) }
        if limit.rlim_cur < limit.rlim_max {
            var raised = limit
            raised.rlim_cur = limit.rlim_max
            guard setrlimit(resource, &raised) == 0 else { throw Errno(rawValue: errno) }
            limit = raised
        }
        return Int(clamping: limit.rlim_cur)
    }
}
