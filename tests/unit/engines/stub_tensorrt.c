/* The functions that TensorRT's Python bindings look for in its libraries; all give null. Enough to import the bindings. */
#include <stddef.h>
#define NONE(name) void *name(void) { return NULL; }
NONE(createInferBuilder_INTERNAL)
NONE(createInferRefitter_INTERNAL)
NONE(createInferRuntime_INTERNAL)
NONE(createNvOnnxParserRefitter_INTERNAL)
NONE(createNvOnnxParser_INTERNAL)
NONE(getBuilderPluginRegistry)
NONE(getNvOnnxParserVersion)
NONE(getPluginRegistry)
NONE(initLibNvInferPlugins)
