import Fencing
import Glibc

/// Why an ioctl answers an errno.
public struct IoctlError: Error, Sendable, Equatable {
    /// Positive.
    public var errno: Int32
    /// For the log: what, where, why.
    public var text: String

    init(_ errno: Int32, _ text: String) {
        self.errno = errno
        self.text = text
    }

    init(_ error: DeviceError) {
        self.init(error.errno, error.description)
    }

    init(_ error: FencingError) {
        self.init(error.errno, "\(error)")
    }

    static func invalid(_ text: String) -> IoctlError { IoctlError(EINVAL, text) }
    static func fault(_ text: String) -> IoctlError { IoctlError(EFAULT, text) }
    static func missing(_ text: String) -> IoctlError { IoctlError(ENOENT, text) }
}

/// Runs `body` and turns its error into an errno.
func answering<Result>(
    _ body: () throws(DeviceError) -> Result
) throws(IoctlError) -> Result {
    do throws(DeviceError) {
        return try body()
    } catch {
        throw IoctlError(error)
    }
}

/// Runs `body` and turns its error into an errno.
func answeringFences<Result>(
    _ body: () throws(FencingError) -> Result
) throws(IoctlError) -> Result {
    do throws(FencingError) {
        return try body()
    } catch {
        throw IoctlError(error)
    }
}
