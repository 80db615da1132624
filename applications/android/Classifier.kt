import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import java.nio.ByteBuffer
import org.tensorflow.lite.support.metadata.MetadataExtractor
import org.tensorflow.lite.support.metadata.schema.NormalizationOptions

/**
 * A float .tflite file of keras_senet from the app's assets: channels last, a batch of 1,
 * and a normalization in its metadata, as networks with include_preprocessing=True have.
 */
class Classifier(context: Context, asset: String = "model.tflite") : AutoCloseable {
    private val model =
        CompiledModel.create(context.assets, asset, CompiledModel.Options(Accelerator.CPU))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()
    private val labels: List<String>
    private val shape: IntArray // 1, height, width, channels
    private val mean: FloatArray
    private val deviation: FloatArray

    init {
        val bytes = context.assets.open(asset).use { it.readBytes() }
        val metadata = MetadataExtractor(ByteBuffer.wrap(bytes))
        labels = metadata.getAssociatedFile("labels.txt").bufferedReader().readLines()
        shape = metadata.getInputTensorShape(0)
        require(shape.size == 4 && shape[0] == 1 && shape[3] in setOf(1, 3)) {
            "The input must be (1, height, width, 1 or 3). Received: ${shape.toList()}"
        }
        val unit = requireNotNull(metadata.getInputTensorMetadata(0)?.processUnits(0)) {
            "The metadata must say how pixels are normalized. Received: $asset, which " +
                "does not. Build the network with include_preprocessing=True."
        }
        val options = unit.options(NormalizationOptions()) as NormalizationOptions
        mean = FloatArray(options.meanLength()) { options.mean(it) }
        deviation = FloatArray(options.stdLength()) { options.std(it) }
    }

    /** Returns the five best labels with their scores. Call it off the main thread. */
    fun classify(picture: Bitmap): List<Pair<String, Float>> {
        inputs[0].writeFloat(pixels(picture))
        model.run(inputs, outputs)
        val scores = outputs[0].readFloat()
        return labels.zip(scores.toList()).sortedByDescending { it.second }.take(5)
    }

    /** The centre square, resized and normalised as the metadata says. */
    private fun pixels(picture: Bitmap): FloatArray {
        val (_, height, width, channels) = shape.toList()
        val side = minOf(picture.width, picture.height)
        val left = (picture.width - side) / 2
        val top = (picture.height - side) / 2
        val square = Bitmap.createBitmap(picture, left, top, side, side)
        val small = Bitmap.createScaledBitmap(square, width, height, true)
        val colours = IntArray(width * height)
        small.getPixels(colours, 0, width, 0, 0, width, height)
        return FloatArray(colours.size * channels) { i ->
            val channel = i % channels
            val value = value(colours[i / channels], channel, channels)
            val at = if (mean.size > 1) channel else 0
            (value - mean[at]) / deviation[at]
        }
    }

    private fun value(colour: Int, channel: Int, channels: Int): Float {
        val rgb = intArrayOf(Color.red(colour), Color.green(colour), Color.blue(colour))
        if (channels > 1) return rgb[channel].toFloat()
        return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }
}
