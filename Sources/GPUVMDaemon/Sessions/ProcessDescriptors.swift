import Glibc

/// The process's open file descriptors.
enum ProcessDescriptors {
    /// How many there are, without the one that counts them. O(descriptors).
    static var count: Int {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        var entries = 0
        while let entry = readdir(directory) {
            if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { entries += 1 }
        }
        return entries - 1
    }
}
