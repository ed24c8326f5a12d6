import Glibc

/// What a process is made of, as /proc tells.
struct ProcessFigures {
    /// Memory in RAM that is the process's own (anonymous), KiB: shared memory of clients' buffers is
    /// not, wherever it is mapped.
    let anonymous: Int
    /// All of its memory in RAM, KiB.
    let resident: Int
    let descriptors: Int
    let threads: Int
    /// Time on a CPU, ticks of 10 ms.
    let ticks: Int

    init(_ pid: Int32) {
        let status = DaemonUnderTest.contents("/proc/\(pid)/status")
        func field(_ name: String) -> Int {
            let line = status.split(separator: "\n").first { $0.hasPrefix(name + ":") }
            return line.flatMap { line in
                line.dropFirst(name.count + 1).split { $0 == " " || $0 == "\t" }.first.flatMap {
                    Int($0)
                }
            } ?? 0
        }
        anonymous = field("RssAnon")
        resident = field("VmRSS")
        threads = field("Threads")
        var count = 0
        if let directory = opendir("/proc/\(pid)/fd") {
            while let entry = readdir(directory) {
                if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
            }
            closedir(directory)
        }
        descriptors = count
        let words = DaemonUnderTest.contents("/proc/\(pid)/stat").split(separator: ")").last?
            .split(separator: " ")
        let times = words.map { $0.dropFirst(11).prefix(2).compactMap { Int($0) } } ?? []
        ticks = times.reduce(0, +)
    }
}
