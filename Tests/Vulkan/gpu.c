#include "gpu.h"

#include <stdio.h>
#include <string.h>

const char *result_name(VkResult result) {
    switch (result) {
    case VK_SUCCESS: return "VK_SUCCESS";
    case VK_NOT_READY: return "VK_NOT_READY";
    case VK_TIMEOUT: return "VK_TIMEOUT";
    case VK_EVENT_SET: return "VK_EVENT_SET";
    case VK_EVENT_RESET: return "VK_EVENT_RESET";
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED: return "VK_ERROR_INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST: return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_MEMORY_MAP_FAILED: return "VK_ERROR_MEMORY_MAP_FAILED";
    case VK_ERROR_LAYER_NOT_PRESENT: return "VK_ERROR_LAYER_NOT_PRESENT";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "VK_ERROR_EXTENSION_NOT_PRESENT";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "VK_ERROR_FEATURE_NOT_PRESENT";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case VK_ERROR_FORMAT_NOT_SUPPORTED: return "VK_ERROR_FORMAT_NOT_SUPPORTED";
    case VK_ERROR_INVALID_EXTERNAL_HANDLE: return "VK_ERROR_INVALID_EXTERNAL_HANDLE";
    case VK_ERROR_UNKNOWN: return "VK_ERROR_UNKNOWN";
    default: break;
    }
    static _Thread_local char number[20];
    snprintf(number, sizeof number, "VkResult %d", result);
    return number;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *context) {
    (void)severity, (void)types, (void)context;
    char line[700];
    snprintf(line, sizeof line, "%s", data->pMessage);
    for (char *c = line; *c; c++)
        if (*c == '\n')
            *c = ' ';
    fail("validation: %s", line);
}

static void open_instance(struct gpu *gpu) {
    static const char *const layers[] = {"VK_LAYER_KHRONOS_validation"};
    static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                             VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    static const VkValidationFeatureEnableEXT checks[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    const VkValidationFeaturesEXT validation = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = checks,
    };
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "vkmove",
        .apiVersion = VK_API_VERSION_1_3,
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &application,
    };
    if (options.validate) {
        info.pNext = &validation;
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = layers;
        info.enabledExtensionCount = 2;
        info.ppEnabledExtensionNames = extensions;
    }
    VK(vkCreateInstance(&info, NULL, &gpu->instance));
    if (!options.validate)
        return;
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
    };
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)vkGetInstanceProcAddr(
            gpu->instance, "vkCreateDebugUtilsMessengerEXT");
    VK(create(gpu->instance, &messenger, NULL, &gpu->messenger));
}

static void choose_device(struct gpu *gpu) {
    VkPhysicalDevice devices[16];
    uint32_t count = 16;
    VkResult result = vkEnumeratePhysicalDevices(gpu->instance, &count, devices);
    REQUIRE(result == VK_SUCCESS || result == VK_INCOMPLETE, "no devices: %s",
            result_name(result));
    for (uint32_t i = 0; i < count; i++) {
        vkGetPhysicalDeviceProperties(devices[i], &gpu->properties);
        if (options.device == NULL || strstr(gpu->properties.deviceName, options.device)) {
            gpu->physical = devices[i];
            return;
        }
    }
    fail("none of the %u Vulkan devices is called %s", count,
         options.device ? options.device : "anything");
}

// Which queue does what. On a driver with a queue for transfers alone that queue does the moving.
static void choose_queues(struct gpu *gpu) {
    for (unsigned i = 0; i < gpu->queue_count; i++) {
        struct queue *queue = &gpu->queues[i];
        const VkQueueFlags universal = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
        if (queue->flags & universal) {
            if (gpu->general == NULL)
                gpu->general = queue;
        } else if (queue->flags & VK_QUEUE_TRANSFER_BIT && gpu->mover == NULL &&
                   !options.universal) {
            gpu->mover = queue;
        }
    }
    if (gpu->mover == NULL)
        gpu->mover = gpu->general;
    REQUIRE(gpu->mover != NULL, "no queue moves memory");
    if (gpu->mover->flags & VK_QUEUE_SPARSE_BINDING_BIT)
        gpu->binder = gpu->mover;
    for (unsigned i = 0; i < gpu->queue_count && gpu->binder == NULL; i++)
        if (gpu->queues[i].flags & VK_QUEUE_SPARSE_BINDING_BIT)
            gpu->binder = &gpu->queues[i];
}

void gpu_open(struct gpu *gpu) {
    *gpu = (struct gpu){0};
    open_instance(gpu);
    choose_device(gpu);
    vkGetPhysicalDeviceMemoryProperties(gpu->physical, &gpu->memory);
    vkGetPhysicalDeviceFeatures(gpu->physical, &gpu->features);
    REQUIRE(gpu->properties.apiVersion >= VK_API_VERSION_1_3, "%s has no Vulkan 1.3",
            gpu->properties.deviceName);
    gpu->loses_writes = gpu->properties.sparseProperties.residencyNonResidentStrict;
    gpu->strict = gpu->loses_writes || options.assume_strict;

    VkQueueFamilyProperties families[QUEUES];
    uint32_t family_count = QUEUES;
    vkGetPhysicalDeviceQueueFamilyProperties(gpu->physical, &family_count, families);
    static const float priorities[QUEUES] = {1, 1, 1, 1, 1, 1, 1, 1};
    VkDeviceQueueCreateInfo queue_infos[QUEUES];
    uint32_t used = 0;
    for (uint32_t i = 0; i < family_count; i++) {
        const uint32_t left = QUEUES - gpu->queue_count;
        const uint32_t count = (uint32_t)minimum(families[i].queueCount, minimum(left, 4));
        if (count == 0)
            continue;
        queue_infos[used++] = (VkDeviceQueueCreateInfo){
            .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = i,
            .queueCount = count,
            .pQueuePriorities = priorities,
        };
        for (uint32_t j = 0; j < count; j++)
            gpu->queues[gpu->queue_count++] = (struct queue){
                .family = i,
                .flags = families[i].queueFlags,
                .timestamp_bits = families[i].timestampValidBits,
                .granularity = families[i].minImageTransferGranularity,
            };
    }
    VkPhysicalDeviceVulkan13Features features13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
        .synchronization2 = VK_TRUE,
    };
    VkPhysicalDeviceVulkan12Features features12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = &features13,
        .timelineSemaphore = VK_TRUE,
        .hostQueryReset = VK_TRUE,
    };
    const VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &features12,
        .features =
            {
                .sparseBinding = gpu->features.sparseBinding,
                .sparseResidencyBuffer = gpu->features.sparseResidencyBuffer,
                .sparseResidencyImage2D = gpu->features.sparseResidencyImage2D,
                .sparseResidencyImage3D = gpu->features.sparseResidencyImage3D,
                .sparseResidencyAliased = gpu->features.sparseResidencyAliased,
                .textureCompressionBC = gpu->features.textureCompressionBC,
            },
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &features,
        .queueCreateInfoCount = used,
        .pQueueCreateInfos = queue_infos,
    };
    VK(vkCreateDevice(gpu->physical, &info, NULL, &gpu->device));
    for (unsigned i = 0; i < gpu->queue_count; i++) {
        struct queue *queue = &gpu->queues[i];
        uint32_t index = 0;
        while (index < i && gpu->queues[i - index - 1].family == queue->family)
            index++;
        vkGetDeviceQueue(gpu->device, queue->family, index, &queue->handle);
        pthread_mutex_init(&queue->lock, NULL);
    }
    choose_queues(gpu);
}

void gpu_close(struct gpu *gpu) {
    VK(vkDeviceWaitIdle(gpu->device));
    vkDestroyDevice(gpu->device, NULL);
    if (gpu->messenger != VK_NULL_HANDLE) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)vkGetInstanceProcAddr(
                gpu->instance, "vkDestroyDebugUtilsMessengerEXT");
        destroy(gpu->instance, gpu->messenger, NULL);
    }
    vkDestroyInstance(gpu->instance, NULL);
    for (unsigned i = 0; i < gpu->queue_count; i++)
        pthread_mutex_destroy(&gpu->queues[i].lock);
}

uint32_t memory_type(const struct gpu *gpu, uint32_t allowed, enum placement placement) {
    const VkMemoryPropertyFlags host =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags wished[2][2] = {
        [LOCAL] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0},
        [HOST] = {host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, host},
    };
    for (unsigned attempt = 0; attempt < 2; attempt++)
        for (uint32_t i = 0; i < gpu->memory.memoryTypeCount; i++) {
            const VkMemoryPropertyFlags flags = gpu->memory.memoryTypes[i].propertyFlags;
            const VkMemoryPropertyFlags wish = wished[placement][attempt];
            if (allowed & 1u << i && (flags & wish) == wish)
                return i;
        }
    fail("no memory type of those in 0x%x is %s", allowed,
         placement == HOST ? "host-visible and coherent" : "there");
}

VkDeviceMemory memory_allocate(const struct gpu *gpu, VkDeviceSize size, uint32_t type) {
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = size,
        .memoryTypeIndex = type,
    };
    VkDeviceMemory memory;
    VK(vkAllocateMemory(gpu->device, &info, NULL, &memory));
    return memory;
}

VkBuffer buffer_handle(const struct gpu *gpu, VkDeviceSize size, VkBufferCreateFlags flags) {
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .flags = flags,
        .size = size,
        .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    VkBuffer buffer;
    VK(vkCreateBuffer(gpu->device, &info, NULL, &buffer));
    return buffer;
}

struct buffer buffer_create(const struct gpu *gpu, VkDeviceSize size, enum placement placement) {
    struct buffer buffer = {.handle = buffer_handle(gpu, size, 0), .size = size};
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(gpu->device, buffer.handle, &needs);
    buffer.memory = memory_allocate(gpu, needs.size,
                                    memory_type(gpu, needs.memoryTypeBits, placement));
    VK(vkBindBufferMemory(gpu->device, buffer.handle, buffer.memory, 0));
    if (placement == HOST) {
        void *bytes;
        VK(vkMapMemory(gpu->device, buffer.memory, 0, VK_WHOLE_SIZE, 0, &bytes));
        buffer.bytes = bytes;
    }
    return buffer;
}

void buffer_destroy(const struct gpu *gpu, struct buffer *buffer) {
    vkDestroyBuffer(gpu->device, buffer->handle, NULL);
    vkFreeMemory(gpu->device, buffer->memory, NULL);
    *buffer = (struct buffer){0};
}
