import CPlatform
import Device
import Engines
import Fencing
import Glibc
import WireProtocol

/// Every ioctl of nouveau's personality, in sequences on one open file, with valid handles mostly.
///
/// Each call has to return, with the argument and the blocks that it came with, and a closed file
/// leaves nothing behind.
enum IoctlTarget {
    static let server = FuzzServer()

    static func run(_ bytes: UnsafeRawBufferPointer) {
        var input = FuzzInput(bytes)
        let setup = input.byte()
        do {
            let file = IoctlFile(server, isRenderNode: setup & 0x40 == 0)
            if setup & 0x80 == 0 { file.begin(isOld: setup & 1 != 0) }
            var left = 64
            while !input.isEmpty, left > 0 {
                left -= 1
                file.step(&input)
            }
            file.end()
        }
        server.expectNothingLeft()
    }
}
